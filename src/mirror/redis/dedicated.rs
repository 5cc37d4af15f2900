//! A connection of one caller with one request at a time: the commits of a thread. A shared
//! connection needs a task, a queue and a channel for the answer, which cost more than the commit.

use combine::stream::Decoder;
use redis::{
    Client, Cmd, ConnectionAddr, ErrorKind, RedisError, RedisResult, Value, cmd,
    parse_redis_value_async,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::Mutex,
};

/// Nearly every answer of the commit script.
const OK: &[u8] = b"*1\r\n$2\r\nok\r\n";
/// Capacity of the request buffer that is kept between calls.
const REQUEST_BYTES_KEPT: usize = 64 * 1024;

/// A call that fails half-way or is dropped closes the connection.
pub(super) struct Dedicated(Mutex<State>);

#[derive(Default)]
struct State {
    /// `None` if it is closed or a call uses it.
    stream: Option<BufReader<TcpStream>>,
    request: Vec<u8>,
}

/// Whether the server is reached over TCP without TLS.
pub(super) fn can_reach(client: &Client) -> bool {
    matches!(
        client.get_connection_info().addr(),
        ConnectionAddr::Tcp(_, _)
    )
}

impl Dedicated {
    /// Connects, authenticates and selects the database of the URL. The caller bounds the wait.
    pub(super) async fn connect(client: &Client) -> RedisResult<Self> {
        let info = client.get_connection_info();
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(RedisError::from((
                ErrorKind::InvalidClientConfig,
                "a dedicated connection is plain TCP",
            )));
        };
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        let connection = Self(Mutex::new(State {
            stream: Some(BufReader::new(stream)),
            request: Vec::new(),
        }));
        let settings = info.redis_settings();
        let mut greeting = Vec::new();
        if let Some(password) = settings.password() {
            let mut auth = cmd("AUTH");
            auth.arg(settings.username()).arg(password);
            greeting.push(auth);
        }
        if settings.db() != 0 {
            let mut select = cmd("SELECT");
            select.arg(settings.db());
            greeting.push(select);
        }
        for answer in connection.call(greeting.iter()).await? {
            answer?;
        }
        Ok(connection)
    }

    /// Sends commands in one write. Returns one answer each.
    pub(super) async fn call(
        &self,
        calls: impl Iterator<Item = &Cmd>,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let mut state = self.0.lock().await;
        let mut stream = state.stream.take().ok_or_else(closed)?;
        let mut request = std::mem::take(&mut state.request);
        let mut count = 0;
        for call in calls {
            call.write_packed_command(&mut request);
            count += 1;
        }
        stream.get_mut().write_all(&request).await?;
        let answers = read(&mut stream, count).await?;
        request.clear();
        request.shrink_to(REQUEST_BYTES_KEPT);
        *state = State {
            stream: Some(stream),
            request,
        };
        Ok(answers)
    }
}

async fn read(
    stream: &mut BufReader<TcpStream>,
    count: usize,
) -> RedisResult<Vec<RedisResult<Value>>> {
    let mut answers = Vec::with_capacity(count);
    // The decoder reads ahead, so the answers after its first one belong to it too.
    let mut decoder = None;
    while answers.len() < count {
        if decoder.is_none() && stream.fill_buf().await?.starts_with(OK) {
            stream.consume(OK.len());
            answers.push(Ok(Value::Array(vec![Value::BulkString(b"ok".to_vec())])));
            continue;
        }
        let decoder = decoder.get_or_insert_with(Decoder::new);
        let answer = parse_redis_value_async(decoder, stream).await?;
        answers.push(answer.extract_error());
    }
    Ok(answers)
}

fn closed() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::NotConnected).into()
}
