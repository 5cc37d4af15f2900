//! A connection of one caller, one request at a time: the commits of a thread. What a shared connection needs besides (a task that
//! drives it, a queue to it, an answer that travels back) costs more than the commit itself.

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
/// A buffer for requests that is kept; a larger one is not.
const REQUEST_BYTES_KEPT: usize = 64 * 1024;

/// See the module. A call that fails half-way, or is dropped, leaves it closed.
pub(super) struct Dedicated(Mutex<State>);

#[derive(Default)]
struct State {
    /// None: closed, or in the hands of a call.
    stream: Option<BufReader<TcpStream>>,
    request: Vec<u8>,
}

/// Whether the server can be reached so: over TCP, without TLS.
pub(super) fn can_reach(client: &Client) -> bool {
    matches!(
        client.get_connection_info().addr(),
        ConnectionAddr::Tcp(_, _)
    )
}

impl Dedicated {
    /// Connects, presents the credentials of the URL and chooses its database. The caller bounds the wait.
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

    /// Sends commands in one write; one answer each.
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
    // Reads ahead, so what follows an answer that it read is its own, too.
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
