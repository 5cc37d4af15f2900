//! How long files may be, and how they begin.

use super::files::{read, rust_files};

/// Lines a source file may have. A longer one hides a concern that wants a file of its own.
const LINES_MAX: usize = 400;

/// Lines a document may have.
const DOCUMENT_LINES_MAX: [(&str, usize); 3] = [
    ("README.md", 130),
    ("ARCHITECTURE.md", 130),
    ("docs/performance.md", 100),
];

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
fn documents_are_short() {
    for (document, lines_max) in DOCUMENT_LINES_MAX {
        let lines = read(document).lines().count();
        assert!(
            lines <= lines_max,
            "{document} has {lines} lines, allowed are {lines_max}"
        );
    }
}
