//! A real redis-server for one test: on a port of its own, gone when the test ends.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis::FromRedisValue;

/// Longest wait for a server to answer.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is asked meanwhile.
const START_POLL: Duration = Duration::from_millis(10);
/// How often another port is tried when somebody else took the chosen one.
const PORT_ATTEMPTS: usize = 5;

/// What a restarted server finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each test binary uses what it needs")]
pub enum Data {
    /// What the last [`RedisServer::save`] wrote.
    Saved,
    /// Nothing.
    Lost,
}

/// A running server, killed when dropped.
pub struct RedisServer {
    process: Option<Child>,
    port: u16,
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    /// The configuration file. `None` with arguments only.
    file: Option<std::path::PathBuf>,
}

#[allow(dead_code, reason = "each test binary uses what it needs")]
impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let mut server = Self {
                process: None,
                port: free_port(),
                directory: tempfile::tempdir().expect("a temporary directory"),
                arguments: arguments
                    .iter()
                    .map(|&argument| argument.to_owned())
                    .collect(),
                file: None,
            };
            if server.spawn() {
                return server;
            }
        }
        panic!("redis-server did not start on {PORT_ATTEMPTS} ports");
    }

    /// Starts a sentinel over its configuration file, which it rewrites.
    pub fn start_sentinel(file: &std::path::Path) -> Self {
        let mut server = Self {
            process: None,
            port: free_port(),
            directory: tempfile::tempdir().expect("a temporary directory"),
            arguments: vec!["--sentinel".to_owned()],
            file: Some(file.to_owned()),
        };
        assert!(server.spawn(), "the sentinel did not start");
        server
    }

    /// For the product.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs one raw command.
    pub fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.connect().expect("redis-server answers");
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut connection).expect("a valid command")
    }

    /// Freezes the server for a while, as a slow disk or a busy host would.
    pub fn pause(&self, ms: u64) {
        self.signal("STOP");
        std::thread::sleep(Duration::from_millis(ms));
        self.signal("CONT");
    }

    /// Freezes the server until [`Self::thaw`].
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Ends a freeze.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Writes everything to disk, for [`Data::Saved`].
    pub fn save(&self) {
        let _: String = self.command(&["SAVE"]);
    }

    /// Ends the server as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the server is our child");
            process.wait().expect("the server is our child");
        }
    }

    /// Starts it again on the same port.
    pub fn start_again(&mut self, data: Data) {
        self.kill();
        if data == Data::Lost {
            // There is none when nothing was saved.
            let _ = std::fs::remove_file(self.directory.path().join("dump.rdb"));
        }
        assert!(self.spawn(), "redis-server did not start again");
    }

    /// Starts the process and waits until it answers. Returns false if it ended, as with a taken
    /// port.
    fn spawn(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        match &self.file {
            Some(file) => command.arg(file),
            None => command.args(["--save", "", "--appendonly", "no"]),
        };
        let process = command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .arg("--dir")
            .arg(self.directory.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let process = self.process.insert(process);
        let deadline = Instant::now() + START_TIMEOUT;
        let own_id = process.id().to_string();
        loop {
            if process.try_wait().expect("our child").is_some() {
                self.process = None;
                return false;
            }
            if answering_process(self.port).as_ref() == Some(&own_id) {
                return true;
            }
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(START_POLL);
        }
    }

    fn connect(&self) -> redis::RedisResult<redis::Connection> {
        redis::Client::open(self.url())?.get_connection_with_timeout(Duration::from_secs(2))
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("the server runs");
        let status = Command::new("kill")
            .args([format!("-{signal}"), process.id().to_string()])
            .status()
            .expect("kill is installed");
        assert!(status.success(), "the server takes a signal");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Already gone is as good.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The id of the process that answers on a port: a foreign server is not taken for ours.
fn answering_process(port: u16) -> Option<String> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).ok()?;
    let mut connection = client
        .get_connection_with_timeout(Duration::from_millis(500))
        .ok()?;
    let info: String = redis::cmd("INFO")
        .arg("server")
        .query(&mut connection)
        .ok()?;
    info.lines()
        .find_map(|line| line.strip_prefix("process_id:"))
        .map(|id| id.trim().to_owned())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound address").port()
}
