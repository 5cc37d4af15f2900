//! The built load tool as a child process, and the reports that it writes.

use std::{
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::timeout;

/// Longest life of a run.
const RUN_DEADLINE: Duration = Duration::from_secs(150);

/// One run of the tool.
pub struct Run {
    child: Child,
    directory: TempDir,
}

/// What a run brought.
pub struct Outcome {
    /// 0: no violation.
    pub code: Option<i32>,
    /// The table.
    pub stdout: String,
    /// Errors.
    pub stderr: String,
    /// The report; `Null` when there is none.
    pub report: Value,
    /// The page; empty when there is none.
    pub page: String,
}

impl Run {
    /// Starts it against a server.
    pub fn start(base: &str, key: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_callboard"))
            .arg("load")
            .args(arguments)
            .args(["--url", base])
            .arg("--json")
            .arg(directory.path().join("report.json"))
            .arg("--html")
            .arg(directory.path().join("report.html"))
            .env("CALLBOARD_API_KEY", key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be run");
        Self { child, directory }
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", "INT", &id]).status();
        assert!(sent.expect("kill is a command").success());
    }

    /// Waits for its end.
    pub async fn end(self) -> Outcome {
        let Self { child, directory } = self;
        let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
        let ended = timeout(RUN_DEADLINE, waiting).await;
        let output: Output = ended.expect("the run ends in time").unwrap().unwrap();
        let read = |name: &str| -> String {
            let path: PathBuf = directory.path().join(name);
            std::fs::read_to_string(path).unwrap_or_default()
        };
        Outcome {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            report: serde_json::from_str(&read("report.json")).unwrap_or_default(),
            page: read("report.html"),
        }
    }
}

impl Outcome {
    /// No promise was broken.
    #[track_caller]
    pub fn expect_clean(&self) {
        let said = format!("{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.code, Some(0), "{said}");
        assert_eq!(self.report["violations"], serde_json::json!([]), "{said}");
        assert!(self.stdout.contains("no violations"), "{said}");
    }

    /// A count of the report.
    #[track_caller]
    pub fn count(&self, part: &str, name: &str) -> u64 {
        let value = &self.report[part][name];
        value
            .as_u64()
            .unwrap_or_else(|| panic!("{part}.{name} is {value}"))
    }
}
