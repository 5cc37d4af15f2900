//! The words of comments and documents, and how wide they are.

use super::{
    files::{documents, files, product_files, read, rust_files},
    tokens::Source,
};

/// Columns of a line of prose.
const COLUMNS_MAX: usize = 100;

/// Phrases that make a reader guess, with what to say instead.
const PHRASES: [(&str, &str); 15] = [
    ("none:", "say `None if …`"),
    ("whoever", "name the subject"),
    ("whomever", "name the subject"),
    ("whatever", "name the subject"),
    ("of whom", "two sentences"),
    ("as ever", "say what happens"),
    ("of late", "say since when"),
    ("stands", "say what it is"),
    ("goes on", "continues"),
    ("go on", "continue"),
    ("looks at", "reads, checks"),
    ("knock", "join"),
    ("farewell", "close notice"),
    ("culprit", "crashing command"),
    ("sees to it", "say what it does"),
];

/// Names that standard terms have replaced.
const NAMES: [&str; 34] = [
    "Gate",
    "Knocked",
    "Farewell",
    "Fate",
    "Tenure",
    "LeaseCell",
    "Former",
    "Peers",
    "Ledger",
    "Beginning",
    "Bases",
    "Undelivered",
    "Enter",
    "Instruct",
    "StillThere",
    "Administer",
    "Depart",
    "Abandon",
    "Forgotten",
    "Survivors",
    "Spacing",
    "Wish",
    "Alarm",
    "Sleeper",
    "HandOver",
    "House",
    "Crew",
    "Face",
    "Breach",
    "Stage",
    "culprit",
    "is_poisoned",
    "knock",
    "desk",
];

/// A line with prose in it.
struct Line {
    place: String,
    prose: String,
    is_wide: bool,
}

impl Line {
    fn new(file: &str, index: usize, whole: &str, prose: &str) -> Self {
        // A row of a table and a link cannot be wrapped.
        let is_fixed =
            prose.contains("](") || prose.trim_start_matches(['/', '!', ' ']).starts_with('|');
        Self {
            place: format!("{file}:{}", index + 1),
            prose: prose.to_owned(),
            is_wide: !is_fixed && whole.chars().count() > COLUMNS_MAX,
        }
    }
}

/// Comments of the Rust sources.
fn rust_comments() -> Vec<Line> {
    let mut found = Vec::new();
    for file in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        // These files name what they forbid.
        if file.starts_with("tests/tidy/") {
            continue;
        }
        let text = read(&file);
        let lines: Vec<&str> = text.lines().collect();
        for (number, comment) in Source::parse(&text).comments {
            let index = number - 1;
            found.push(Line::new(&file, index, lines[index], &comment));
        }
    }
    found
}

/// Comments of files of other languages.
fn other_comments() -> Vec<Line> {
    let lua = files("src", &["lua"]).into_iter().map(|file| (file, "--"));
    let python = files("examples", &["py"]);
    let others = [
        "Cargo.toml",
        "config/default.toml",
        "deny.toml",
        "scripts/test",
        ".ci/run",
    ];
    let hashed = python.into_iter().chain(others.map(str::to_owned));
    let mut found = Vec::new();
    for (file, sign) in lua.chain(hashed.map(|file| (file, "#"))) {
        for (index, line) in read(&file).lines().enumerate() {
            if line.trim_start().starts_with(sign) {
                found.push(Line::new(&file, index, line, line));
            }
        }
    }
    found
}

/// Lines of documents outside of code.
fn document_lines() -> Vec<Line> {
    let mut found = Vec::new();
    for file in documents() {
        let mut is_code = false;
        for (index, line) in read(&file).lines().enumerate() {
            if line.starts_with("```") {
                is_code = !is_code;
            } else if !is_code {
                found.push(Line::new(&file, index, line, line));
            }
        }
    }
    found
}

fn all_prose() -> impl Iterator<Item = Line> {
    let comments = rust_comments().into_iter().chain(other_comments());
    comments.chain(document_lines())
}

/// Whether a phrase is in a text as whole words.
fn has_phrase(text: &str, phrase: &str) -> bool {
    let text = text.to_lowercase();
    text.match_indices(phrase).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + phrase.len()..].chars().next();
        let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_word(before) && (phrase.ends_with(':') || !is_word(after))
    })
}

#[test]
fn comments_and_documents_use_plain_words() {
    let mut found = Vec::new();
    for Line { place, prose, .. } in all_prose() {
        // Documents quote names of tests.
        if place.contains(".md:") && prose.contains("::") {
            continue;
        }
        for (phrase, instead) in PHRASES {
            if has_phrase(&prose, phrase) {
                found.push(format!(
                    "{place}: \"{phrase}\" ({instead}): {}",
                    prose.trim()
                ));
            }
        }
    }
    assert!(
        found.is_empty(),
        "{} places:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn names_are_standard_terms() {
    let mut found = Vec::new();
    for file in product_files() {
        for token in Source::parse(&read(&file)).tokens {
            if let Some(name) = token.word().filter(|word| NAMES.contains(word)) {
                found.push(format!("{file}:{}: {name}", token.line));
            }
        }
    }
    assert!(
        found.is_empty(),
        "{} places:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn prose_fits_its_columns() {
    let wide = all_prose().filter(|line| line.is_wide);
    let wide: Vec<String> = wide.map(|line| line.place).collect();
    assert!(wide.is_empty(), "over {COLUMNS_MAX} columns: {wide:#?}");
}

#[test]
fn phrases_are_found_as_whole_words() {
    assert!(has_phrase("// The owner goes on.", "goes on"));
    assert!(has_phrase("/// None: nobody", "none:"));
    assert!(!has_phrase("// upstands", "stands"));
    assert!(!has_phrase("// knocked_out", "knock"));
}
