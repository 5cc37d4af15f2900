//! The two servers under comparison as processes of their own, both on one core.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use callboard::load::rss_kib;
use tempfile::TempDir;

use crate::redis_server::RedisServer;

/// The core of the servers; the load has the next one.
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;
/// Longest wait for a server.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Interval of polling a server that starts.
const START_POLL: Duration = Duration::from_millis(20);
/// How long a server's memory must not have changed before it is read.
const SETTLE: Duration = Duration::from_millis(500);
/// Commands a second and at once that a connection may send.
const COMMANDS_MAX: &str = "100000";
/// A signing key for this alone; with Redis one must be given.
const SIGNING_KEY: &str = "a signing key for comparisons only, 0123456789 0123456789";

/// Whether processes get a core of their own each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinning {
    /// Servers on one core, the load on another.
    Pinned,
    /// Wherever the kernel puts them.
    Free,
}

impl Pinning {
    /// Pinned where `taskset` is installed and there are two cores.
    pub fn of_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let taskset = Command::new("taskset").arg("--version").output();
        if cores > LOAD_CORE && taskset.is_ok() {
            Self::Pinned
        } else {
            Self::Free
        }
    }

    /// A program of the server's side.
    fn server(self, program: &Path) -> Command {
        self.on(SERVER_CORE, program)
    }

    /// A program of the load's side.
    pub fn load(self, program: &Path) -> Command {
        self.on(LOAD_CORE, program)
    }

    fn on(self, core: usize, program: &Path) -> Command {
        match self {
            Self::Free => Command::new(program),
            Self::Pinned => {
                // It becomes the program: the process id stays.
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
        }
    }
}

/// What both are started with.
pub struct Ground<'a> {
    /// Of both.
    pub pinning: Pinning,
    /// The callboard binary; it is the load tool as well.
    pub callboard: &'a Path,
    /// The mirror of callboard.
    pub redis: &'a RedisServer,
    /// `None` for SQLite in the data directory.
    pub database: Option<String>,
}

/// A server that answers; killed when dropped.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub url: String,
    /// Of callboard.
    pub api_key: Option<String>,
    /// Kibibytes resident before anybody connected.
    pub idle_kib: u64,
    /// Data and log; removed at the end.
    directory: TempDir,
}

impl Server {
    /// Starts the baseline: this program again.
    pub fn baseline(ground: &Ground) -> Self {
        let port = free_port();
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = ground.pinning.server(&program);
        command.args(["--baseline-port", &port.to_string()]);
        let directory = TempDir::new().expect("a temporary directory");
        Self::start(&mut command, port, directory)
    }

    /// Starts callboard on an empty Redis.
    pub fn callboard(ground: &Ground) -> Self {
        let port = free_port();
        let directory = TempDir::new().expect("a temporary directory");
        let _: String = ground.redis.command(&["FLUSHALL"]);
        let mut command = ground.pinning.server(ground.callboard);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CALLBOARD_")) {
            command.env_remove(name);
        }
        let address = format!("127.0.0.1:{port}");
        command
            .args(["serve", "--redis", &ground.redis.url()])
            .args(["--listen", &address])
            .args(["--advertise", &format!("http://{address}")])
            .arg("--data")
            .arg(directory.path())
            .env("CALLBOARD_LOG__LEVEL", "warn")
            .env("CALLBOARD_SIGNING_KEY", SIGNING_KEY)
            // What people may say is not what is measured.
            .env("CALLBOARD_LIMITS__COMMANDS_PER_SECOND", COMMANDS_MAX)
            .env("CALLBOARD_LIMITS__COMMANDS_BURST", COMMANDS_MAX)
            // As many threads as a machine of one core gives by default; the baseline has one as
            // well.
            .env("CALLBOARD_HTTP__WORKERS", "1");
        if let Some(database) = &ground.database {
            command.env("CALLBOARD_DATABASE", database);
        }
        let mut server = Self::start(&mut command, port, directory);
        server.api_key = Some(server.key_of_first_start());
        server
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn start(command: &mut Command, port: u16, directory: TempDir) -> Self {
        let log = File::create(directory.path().join("server.log")).expect("a new file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an open file"))
            .stderr(log)
            .spawn()
            .expect("the program can be run");
        let mut server = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            api_key: None,
            idle_kib: 0,
            directory,
        };
        server.wait_until_it_answers(port);
        server.idle_kib = server.settled_kib();
        server
    }

    fn wait_until_it_answers(&mut self, port: u16) {
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = self.child.try_wait().expect("our child");
            assert!(ended.is_none(), "the server ended:\n{}", self.log());
            assert!(
                started.elapsed() < START_PATIENCE,
                "the server does not answer:\n{}",
                self.log()
            );
            std::thread::sleep(START_POLL);
        }
    }

    /// Returns the resident memory once it no longer changes: the start is no cost of connections.
    fn settled_kib(&self) -> u64 {
        let started = Instant::now();
        let mut kib = rss_kib(self.id()).unwrap_or_default();
        loop {
            std::thread::sleep(SETTLE);
            let now = rss_kib(self.id()).unwrap_or_default();
            if now == kib || started.elapsed() > START_PATIENCE {
                return now;
            }
            kib = now;
        }
    }

    fn key_of_first_start(&self) -> String {
        let file = self.path("api-key");
        let key = fs::read_to_string(&file).expect("callboard makes a key at its first start");
        key.trim().to_owned()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("server.log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound address").port()
}
