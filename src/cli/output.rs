//! Results on stdout: tab-separated lines, or JSON.

use std::io::{self, Write};

use anyhow::Context;
use serde_json::Value;

/// Prints one line. A reader that has closed the pipe (`callboard keys list | head -1`) is not an
/// error.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing to stdout")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints one result: the value of its first column, or all columns as a JSON object.
pub(super) fn record(columns: &[(&str, Value)], is_json: bool) -> anyhow::Result<()> {
    let shown = if is_json {
        columns
    } else {
        &columns[..columns.len().min(1)]
    };
    row(shown, is_json)
}

/// Prints one row of a list: tab-separated values, or a JSON object.
pub(super) fn row(columns: &[(&str, Value)], is_json: bool) -> anyhow::Result<()> {
    if is_json {
        line(&object(columns).to_string())
    } else {
        let cells: Vec<String> = columns.iter().map(|(_, value)| cell(value)).collect();
        line(&cells.join("\t"))
    }
}

fn object(columns: &[(&str, Value)]) -> Value {
    columns
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// A value as text. An absent one is empty, and control characters become spaces.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_never_break_their_line() {
        assert_eq!(cell(&json!("a\tb\nc")), "a b c");
        assert_eq!(cell(&json!(null)), "");
        assert_eq!(cell(&json!(5)), "5");
    }
}
