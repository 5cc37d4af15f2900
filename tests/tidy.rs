//! The shape of the tree, kept by tests: what the core may know, how long a file may be, and that the map is true.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Lines a source file may have; more hides a concern that wants a file of its own.
const LINES_MAX: usize = 400;

/// What the rules of a room must not know: the shell, the adapters, clocks and randomness.
const FOREIGN_TO_THE_CORE: [&str; 14] = [
    "actix",
    "tokio",
    "redis",
    "diesel",
    "Instant",
    "SystemTime",
    "Utc::now",
    "Uuid::new",
    "Uuid::now",
    "rand::",
    "std::net",
    "std::fs",
    "std::thread",
    "crate::{actor",
];

/// Our own modules above the core.
const ABOVE_THE_CORE: [&str; 8] = [
    "actor", "cluster", "config", "http", "mirror", "server", "store", "ws",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder, as paths from the root with `/`.
fn rust_files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let path = path.strip_prefix(root()).unwrap();
                found.push(path.to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The code of a file: what stands before `//` on each line.
fn code(path: &str) -> Vec<String> {
    let text = read(path);
    let before_comment = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(before_comment).collect()
}

#[test]
fn rules_of_a_room_know_no_shell_no_clock_and_no_randomness() {
    let mut files = rust_files("src/room");
    files.push("src/room.rs".to_owned());
    let mut found = Vec::new();
    for file in files {
        for (index, line) in code(&file).iter().enumerate() {
            let is_foreign = FOREIGN_TO_THE_CORE.iter().any(|word| line.contains(word))
                || ABOVE_THE_CORE
                    .iter()
                    .any(|module| line.contains(&format!("crate::{module}")));
            if is_foreign && !line.contains("utoipa") {
                found.push(format!("{file}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_are_short_enough_to_answer_one_question() {
    let is_long = |file: &String| read(file).lines().count() > LINES_MAX;
    let long: Vec<String> = rust_files("src").into_iter().filter(is_long).collect();
    assert!(long.is_empty(), "over {LINES_MAX} lines: {long:?}");
}

#[test]
fn every_source_file_says_what_it_is_about_in_its_first_line() {
    // Diesel generates the schema; tests belong to the file beside them.
    let is_exempt = |file: &String| file == "src/store/schema.rs" || file.ends_with("/tests.rs");
    let is_silent = |file: &String| !is_exempt(file) && !read(file).starts_with("//!");
    let silent: Vec<String> = rust_files("src").into_iter().filter(is_silent).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn code_map_of_the_architecture_page_matches_the_tree() {
    let Ok(page) = fs::read_to_string(root().join("ARCHITECTURE.md")) else {
        return;
    };
    let mapped: Vec<&str> = page
        .split("```")
        .skip(1)
        .step_by(2)
        .flat_map(str::lines)
        .filter_map(|line| line.split_whitespace().next())
        .filter(|path| path.starts_with("src/"))
        .map(|path| path.trim_end_matches(['/', '…', ',']))
        .collect();
    assert!(!mapped.is_empty(), "a fenced block lists the sources");
    let missing: Vec<&&str> = mapped
        .iter()
        .filter(|path| !root().join(path).exists())
        .collect();
    assert!(missing.is_empty(), "named but not there: {missing:?}");
    let unnamed: Vec<String> = top_level_modules()
        .into_iter()
        .filter(|file| !mapped.contains(&file.as_str()))
        .collect();
    assert!(unnamed.is_empty(), "there but not named: {unnamed:?}");
}

/// The sources directly in `src`.
fn top_level_modules() -> Vec<String> {
    rust_files("src")
        .into_iter()
        .filter(|file| file.matches('/').count() == 1)
        .collect()
}
