//! A PostgreSQL server of one's own: fresh data directory, free port, stopped when its owner drops
//! it or dies.
//!
//! The server runs under a small shell that waits for the end of a pipe held by the test process.
//! However that process ends, the pipe closes, and the shell stops the server and removes the data
//! directory.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Longest time for a server to start, stop or answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The superuser inside the server; connections from this machine need no password.
const USER: &str = "postgres";

/// `$1`: the server's program, `$2`: its data directory, `$3`: its port. The first `read` waits for
/// a line (stop, keep the data) or for the end of the pipe (stop, remove the data).
const GUARD: &str = r#"
"$1" -D "$2" -p "$3" -k "" -h 127.0.0.1 -F >"$2/server.log" 2>&1 </dev/null &
server=$!
trap '' INT TERM HUP
if read -r order; then
    kill -"$order" "$server" 2>/dev/null
    wait "$server"
else
    kill -QUIT "$server" 2>/dev/null
    kill -CONT "$server" 2>/dev/null
    wait "$server"
    rm -rf "$2"
fi
"#;

/// A running (or stopped) server.
pub struct Postgres {
    /// Where the programs are.
    programs: PathBuf,
    /// The data directory.
    data: PathBuf,
    /// Kept across restarts.
    port: u16,
    /// The shell that guards the server; none while stopped.
    guard: Mutex<Option<Child>>,
    /// Numbers the databases.
    databases: AtomicU32,
}

impl Postgres {
    /// Makes a data directory and starts a server on a free port.
    #[must_use]
    pub fn start() -> Self {
        let programs = programs();
        let data = std::env::temp_dir().join(format!(
            "callboard-postgres-{}-{}",
            std::process::id(),
            uuid::Uuid::new_v4().simple()
        ));
        fs::create_dir(&data).expect("a fresh directory");
        if let Some((uid, gid)) = server_account() {
            chown(&data, Some(uid), Some(gid)).expect("chown the data directory");
        }
        let made = as_server_account(&programs.join("initdb"))
            .args([
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "-U",
                USER,
                "-D",
            ])
            .arg(&data)
            .output()
            .expect("run initdb");
        assert!(
            made.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let server = Self {
            programs,
            data,
            port: free_port(),
            guard: Mutex::new(None),
            databases: AtomicU32::new(0),
        };
        server.start_again();
        server
    }

    /// Starts a stopped server with the data and the port it had.
    pub fn start_again(&self) {
        let mut guard = self.guard();
        assert!(guard.is_none(), "the server is running");
        let child = as_server_account(Path::new("/bin/sh"))
            .args(["-c", GUARD, "guard"])
            .arg(self.programs.join("postgres"))
            .arg(&self.data)
            .arg(self.port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the guard");
        *guard = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready() {
            assert!(
                Instant::now() < deadline,
                "PostgreSQL does not start:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops the server at once, cutting its connections; data and port are kept.
    pub fn stop(&self) {
        let Some(mut guard) = self.guard().take() else {
            return;
        };
        let mut pipe = guard.stdin.take().expect("a pipe to the guard");
        // SIGINT is PostgreSQL's fast shutdown.
        pipe.write_all(b"INT\n").expect("the guard reads");
        guard.wait().expect("the guard ends");
    }

    /// Stops the server's processes where they are: connections stay open, nothing answers.
    pub fn freeze(&self) {
        self.signal_all("STOP");
    }

    /// Thaws a frozen server.
    pub fn thaw(&self) {
        self.signal_all("CONT");
    }

    /// Cuts all connections to a database, from the server's side.
    pub fn cut_connections(&self, database: &str) {
        self.sql(
            USER,
            &format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'"),
        );
    }

    /// Address of a database on this server.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a new, empty database and returns its name.
    #[must_use]
    pub fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(USER, &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs a statement and returns its rows as text.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let output = Command::new(self.programs.join("psql"))
            .args([
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
            ])
            .arg(self.url(database))
            .output()
            .expect("run psql");
        assert!(
            output.status.success(),
            "psql: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Whether the server takes connections.
    fn is_ready(&self) -> bool {
        // Without its own lock file this is somebody else's server on the port.
        self.server_id().is_some()
            && Command::new(self.programs.join("pg_isready"))
                .args([
                    "-q",
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &self.port.to_string(),
                    "-U",
                    USER,
                ])
                .status()
                .is_ok_and(|status| status.success())
    }

    /// Sends a signal to the server and its children, which the server's own process id finds.
    fn signal_all(&self, signal: &str) {
        let Some(server) = self.server_id() else {
            return;
        };
        for child in children(server) {
            send(signal, child);
        }
        send(signal, server);
    }

    /// The server's process id: first line of its lock file.
    fn server_id(&self) -> Option<u32> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.data.join("server.log")).unwrap_or_default()
    }

    fn guard(&self) -> MutexGuard<'_, Option<Child>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        if let Some(mut guard) = self.guard().take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
        let _ = fs::remove_dir_all(&self.data);
    }
}

/// The newest installed server.
fn programs() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, programs)| programs.join("initdb").exists())
        .collect();
    found.sort();
    found
        .pop()
        .expect("PostgreSQL in /usr/lib/postgresql (package postgresql)")
        .1
}

/// PostgreSQL refuses to run as root: then it runs as the account that its package made.
fn server_account() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").expect("/proc").uid() != 0 {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let account = accounts
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .expect("an account named postgres");
    let mut fields = account.split(':').skip(2);
    let mut number = || {
        fields
            .next()
            .and_then(|field| field.parse().ok())
            .expect("an id")
    };
    Some((number(), number()))
}

fn as_server_account(program: &Path) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    command.current_dir("/");
    // Ctrl-C in the terminal is for the tests; the guard then sees its pipe close.
    command.process_group(0);
    if let Some((uid, gid)) = server_account() {
        command.uid(uid).gid(gid);
    }
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// The processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let mut text = String::new();
    let path = format!("/proc/{parent}/task/{parent}/children");
    if let Ok(mut file) = fs::File::open(path) {
        let _ = file.read_to_string(&mut text);
    }
    text.split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect()
}

fn send(signal: &str, process: u32) {
    let _ = Command::new("kill")
        .args([format!("-{signal}"), process.to_string()])
        .status();
}
