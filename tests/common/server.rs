//! The built binary as a child process.

use std::{
    fmt::Display,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{http::Api, outside::Outside};

/// Longest wait for `/readyz`: a debug build beside other tests on two cores.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// Longest wait for an orderly end: above `drain_timeout`.
const END_DEADLINE: Duration = Duration::from_secs(40);
/// Interval of polling.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(25);
/// Ports tried when another process was faster.
const PORT_ATTEMPTS: usize = 5;
/// Lines of the log printed when a test fails.
const LOG_LINES_SHOWN: usize = 150;
/// A signing key for nodes with Redis: there it must be given.
pub const SIGNING_KEY: &str = "a signing key for tests only, 0123456789 0123456789";

/// Connections to the shared PostgreSQL: many servers fit under its limit of 100.
pub const STORE_CONNECTIONS: &str = "4";

/// The databases of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// SQLite for mirror and store, in the data directory.
    Embedded,
    /// Redis for the mirror, PostgreSQL for the store.
    RedisPostgres,
    /// What the environment of the plan names; the test owns it. See [`super::cluster`].
    Given,
}

/// What to start.
pub struct Plan {
    /// Mirror and store.
    backend: Backend,
    /// A PostgreSQL that only this test uses.
    is_postgres_own: bool,
    /// Further environment.
    environment: Vec<(String, String)>,
    /// Lines of a configuration file; empty: none is given.
    config: String,
    /// The limit of open files, soft and hard. `None` for that of the tests.
    open_files_max: Option<usize>,
}

/// One server process and its databases.
pub struct Server {
    /// Redis and PostgreSQL; none when embedded.
    pub outside: Option<Outside>,
    /// The tenant's backend, with the first API key.
    pub api: Api,
    /// Of the listener; the same after a restart.
    pub port: u16,
    /// The data directory and, beside it, the log.
    directory: TempDir,
    /// As planned.
    environment: Vec<(String, String)>,
    /// As planned.
    config: String,
    /// As planned.
    open_files_max: Option<usize>,
    /// With Redis the address must be told.
    is_advertised: bool,
    /// The process; none when it ended.
    child: Option<Child>,
}

impl Plan {
    /// Sets a configuration key by its environment name without prefix, such as
    /// `ROOM__RECONNECT_GRACE_MS`.
    pub fn set(self, key: &str, value: impl Display) -> Self {
        self.environment(&format!("CALLBOARD_{key}"), value)
    }

    /// Sets any environment variable; `{port}` is replaced by the port of the listener.
    pub fn environment(mut self, name: &str, value: impl Display) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Uses a configuration file with this text.
    pub fn config(mut self, text: &str) -> Self {
        text.clone_into(&mut self.config);
        self
    }

    /// Lets the server have so many open files and no more.
    pub fn open_files_max(mut self, max: usize) -> Self {
        self.open_files_max = Some(max);
        self
    }

    /// Gives the server a PostgreSQL that the test may stop.
    pub fn own_postgres(mut self) -> Self {
        self.is_postgres_own = true;
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Server {
        let outside = match self.backend {
            Backend::Embedded | Backend::Given => None,
            Backend::RedisPostgres if self.is_postgres_own => Some(Outside::own()),
            Backend::RedisPostgres => Some(Outside::shared()),
        };
        let mut server = Server {
            is_advertised: self.backend != Backend::Embedded,
            outside,
            api: Api::new("", None),
            port: 0,
            directory: TempDir::new().unwrap(),
            environment: self.environment,
            config: self.config,
            open_files_max: self.open_files_max,
            child: None,
        };
        for _ in 0..PORT_ATTEMPTS {
            server.port = free_port();
            if server.try_start().await {
                return server;
            }
        }
        panic!("no port was free {PORT_ATTEMPTS} times");
    }
}

impl Server {
    /// A plan with short waits nowhere: the defaults of the product.
    pub fn on(backend: Backend) -> Plan {
        Plan {
            backend,
            is_postgres_own: false,
            environment: Vec::new(),
            config: String::new(),
            open_files_max: None,
        }
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Everything the process has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Redis and PostgreSQL of a server that has them.
    pub fn outside(&self) -> &Outside {
        self.outside.as_ref().expect("a server with Redis")
    }

    /// The same, to stop and start them.
    pub fn outside_mut(&mut self) -> &mut Outside {
        self.outside.as_mut().expect("a server with Redis")
    }

    /// The signal URL of a room.
    pub fn signal_url(&self, room_id: &str) -> String {
        format!("ws://127.0.0.1:{}/v1/rooms/{room_id}/signal", self.port)
    }

    /// Kills the process as a power switch would.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the child is ours");
            child.wait().expect("the child is ours");
        }
    }

    /// Starts again on the same data, port and databases.
    pub async fn restart(&mut self) {
        self.kill9();
        for _ in 0..PORT_ATTEMPTS {
            if self.try_start().await {
                return;
            }
        }
        panic!("the port is not free again; log:\n{}", self.log());
    }

    /// Starts the process again. Fails with its output when it ends early.
    pub async fn try_restart(&mut self) -> Result<(), String> {
        self.kill9();
        let before = self.log().len();
        self.spawn();
        if self.wait_until_ready().await {
            return Ok(());
        }
        Err(self.log()[before..].to_owned())
    }

    /// Whether the process was started and has not ended by itself.
    pub fn is_running(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| child.try_wait().expect("the child is ours").is_none())
    }

    /// Stops the process where it is: its connections stay open, nothing answers.
    pub fn freeze(&self) {
        self.send_signal("STOP");
    }

    /// Ends a freeze.
    pub fn thaw(&self) {
        self.send_signal("CONT");
    }

    /// SIGTERM, then waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM").await
    }

    /// A signal by its name, then waits for the end.
    pub async fn signal(&mut self, name: &str) -> ExitStatus {
        let ended = self.end_by(name).await;
        ended.unwrap_or_else(|| panic!("the server does not end on SIG{name}"))
    }

    /// The same. `None` if the process did not end in time and was killed.
    pub async fn end_by(&mut self, name: &str) -> Option<ExitStatus> {
        self.send_signal(name);
        self.end_in_time().await
    }

    /// Waits for the end of a process that was told to end otherwise.
    pub async fn ended(&mut self) -> ExitStatus {
        self.end_in_time().await.expect("the server ends")
    }

    async fn end_in_time(&mut self) -> Option<ExitStatus> {
        let started = Instant::now();
        loop {
            let child = self.child.as_mut().expect("the server runs");
            if let Some(status) = child.try_wait().expect("the child is ours") {
                self.child = None;
                return Some(status);
            }
            if started.elapsed() > END_DEADLINE {
                self.kill9();
                return None;
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Resident memory in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let id = self.child.as_ref().expect("the server runs").id();
        callboard::load::rss_kib(id).expect("the server runs") * 1024
    }

    /// Files, sockets included.
    pub fn open_files(&self) -> usize {
        let id = self.child.as_ref().expect("the server runs").id();
        let files = fs::read_dir(format!("/proc/{id}/fd")).expect("the server runs");
        files.count()
    }

    /// Files for which the kernel has made room: `FDSize` of proc(5).
    pub fn file_table(&self) -> usize {
        let id = self.child.as_ref().expect("the server runs").id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        let size = line.expect("Linux says so").trim();
        size.parse().expect("a number")
    }

    /// Another command of the binary, with the same data and databases.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.prepare(arguments)
            .output()
            .expect("the binary can be run")
    }

    /// Returns the sum of a metric over the label sets that contain all of `parts`. 0 without any.
    pub async fn metric(&self, name: &str, parts: &[&str]) -> f64 {
        let text = self.api.get("/metrics").await;
        assert_eq!(text.status, 200, "{}", text.text);
        let lines = text.text.lines().filter(|line| {
            let own_name = line.split(['{', ' ']).next() == Some(name);
            own_name && parts.iter().all(|part| line.contains(part))
        });
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    fn send_signal(&self, name: &str) {
        let child = self.child.as_ref().expect("the server runs");
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.expect("kill is a command").success());
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    /// The binary with what every command of it needs.
    fn prepare(&self, arguments: &[&str]) -> Command {
        let mut command = binary(self.open_files_max);
        command.args(arguments).arg("--data").arg(self.data());
        if let Some(outside) = &self.outside {
            command.env("CALLBOARD_DATABASE", &outside.database);
            command.env("CALLBOARD_REDIS", outside.redis.url());
            command.env("CALLBOARD_SIGNING_KEY", SIGNING_KEY);
            command.env("CALLBOARD_STORE__POOL_SIZE", STORE_CONNECTIONS);
        }
        if self.is_advertised {
            command.env("CALLBOARD_ADVERTISE", self.base());
        }
        let port = self.port.to_string();
        let environment = self.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value.replace("{port}", &port))));
        command.stdin(Stdio::null());
        command
    }

    fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// False: another process had the port.
    async fn try_start(&mut self) -> bool {
        let before = self.log().len();
        self.spawn();
        if self.wait_until_ready().await {
            self.api = Api::new(&self.base(), Some(&self.api_key()));
            return true;
        }
        let said = self.log()[before..].to_owned();
        let clash = said.contains("in use") || said.contains("EADDRINUSE");
        assert!(clash, "the server ended; it said:\n{said}");
        false
    }

    fn spawn(&mut self) {
        let listen = format!("127.0.0.1:{}", self.port);
        let mut command = self.prepare(&["serve", "--listen", &listen]);
        if !self.config.is_empty() {
            let path = self.directory.path().join("callboard.toml");
            fs::write(&path, &self.config).unwrap();
            command.arg("--config").arg(path);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().expect("the binary can be run"));
    }

    /// False: the process ended.
    async fn wait_until_ready(&mut self) -> bool {
        let api = Api::new(&self.base(), None);
        let started = Instant::now();
        loop {
            let child = self.child.as_mut().expect("just started");
            if child.try_wait().expect("the child is ours").is_some() {
                self.child = None;
                return false;
            }
            if api.probe("/readyz").await == Some(200) {
                return true;
            }
            assert!(
                started.elapsed() < READY_DEADLINE,
                "not ready in time; log:\n{}",
                self.log()
            );
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The key given, or else the one that the server made at its first start.
    fn api_key(&self) -> String {
        let given = self.environment.iter();
        let mut given = given.filter(|(name, _)| name == "CALLBOARD_BOOTSTRAP_API_KEY");
        match given.next() {
            Some((_, key)) => key.clone(),
            None => read_line(&self.data().join("api-key")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let from = lines.len().saturating_sub(LOG_LINES_SHOWN);
            eprintln!("--- the server's log ---\n{}", lines[from..].join("\n"));
        }
    }
}

/// Returns the binary's command with none of our variables set, under a limit of open files if
/// there is one.
pub fn binary(open_files_max: Option<usize>) -> Command {
    let path = env!("CARGO_BIN_EXE_callboard");
    let mut command = match open_files_max {
        None => Command::new(path),
        Some(max) => {
            let mut command = Command::new("sh");
            command
                .args(["-c", r#"ulimit -n "$1" && shift && exec "$@""#, "sh"])
                .arg(max.to_string())
                .arg(path);
            command
        }
    };
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CALLBOARD_")) {
        command.env_remove(name);
    }
    command
}

/// The only line of a file.
pub fn read_line(path: &Path) -> String {
    let text = fs::read_to_string(path)
        .unwrap_or_else(|fault| panic!("{} cannot be read: {fault}", path.display()));
    text.trim_end().to_owned()
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
