//! The documents name files and tests that exist. The helpers of the checks of single pages.

use std::{collections::BTreeSet, path::Path};

use super::{
    files::{documents, exists, files, read, rust_files},
    tokens::{Source, Token},
};

pub type Names = BTreeSet<String>;

pub fn tokens(file: &str) -> Vec<Token> {
    Source::parse(&read(file)).tokens
}

/// The texts between backticks of a line.
pub fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// All quoted texts of a document, code blocks left out.
pub fn quoted_in(document: &str) -> Vec<String> {
    let text = read(document);
    let mut found = Vec::new();
    for block in text.split("```").step_by(2) {
        found.extend(block.lines().flat_map(quoted).map(str::to_owned));
    }
    found
}

/// One column of all tables of a section.
pub fn column(section: &str, index: usize) -> Vec<String> {
    section
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.split('|').nth(index + 1))
        .map(|cell| cell.trim().to_owned())
        .collect()
}

/// Quoted names in the cells of a column.
pub fn names_in(section: &str, index: usize) -> Names {
    let cells = column(section, index);
    cells
        .iter()
        .flat_map(|cell| quoted(cell))
        .map(str::to_owned)
        .collect()
}

pub fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

pub fn assert_same(what: &str, documented: &Names, existing: &Names) {
    let missing: Vec<&String> = existing.difference(documented).collect();
    let unknown: Vec<&String> = documented.difference(existing).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{what}: not documented {missing:?}, documented but not there {unknown:?}"
    );
}

#[test]
fn files_in_documents_exist() {
    let mut missing = Vec::new();
    for document in documents() {
        let folder = Path::new(&document)
            .parent()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let links = links(&document)
            .into_iter()
            .map(|link| resolve(&folder, &link));
        let named = quoted_in(&document)
            .into_iter()
            .filter(|name| is_file_name(name));
        for name in links.chain(named) {
            let places = [name.clone(), format!("src/{name}"), resolve(&folder, &name)];
            let is_pattern = name.contains('*');
            if !is_pattern && !places.iter().any(|place| exists(place)) {
                missing.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Targets of links within the repository, without their anchors.
fn links(document: &str) -> Vec<String> {
    let text = read(document);
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let files = targets.map(|target| target.split('#').next().unwrap_or_default().to_owned());
    files
        .filter(|file| !file.is_empty() && !file.contains("://"))
        .collect()
}

/// Whether a quoted text names a file of the repository: it has a folder, or ends like one.
fn is_file_name(name: &str) -> bool {
    const KINDS: [&str; 7] = [".rs", ".md", ".toml", ".py", ".lua", ".sql", ".sh"];
    const MADE: [&str; 3] = ["data/", "target/", "./data"];
    let is_plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-*".contains(c));
    let ends_like_one = KINDS.iter().any(|kind| name.ends_with(kind));
    let has_folder = name.contains('/') && !name.starts_with('/');
    let is_made = MADE.iter().any(|made| name.starts_with(made));
    is_plain && (ends_like_one || has_folder) && !is_made && name != "callboard.toml"
}

fn resolve(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[test]
fn tests_in_documents_exist() {
    let mut names = Names::new();
    for folder in ["src", "tests"] {
        for file in rust_files(folder) {
            let tokens = tokens(&file);
            let functions = tokens
                .windows(2)
                .filter(|pair| pair[0].word() == Some("fn"));
            names.extend(
                functions
                    .filter_map(|pair| pair[1].word())
                    .map(str::to_owned),
            );
        }
    }
    let targets: Names = files("tests", &["rs"])
        .iter()
        .filter_map(|file| file.split('/').nth(1))
        .map(|target| target.trim_end_matches(".rs").to_owned())
        .chain(["actor".to_owned()])
        .collect();
    let mut missing = Vec::new();
    for document in documents() {
        for name in quoted_in(&document) {
            let Some((target, rest)) = name.split_once("::") else {
                continue;
            };
            let test = rest.rsplit("::").next().unwrap_or_default();
            let is_test =
                targets.contains(target) && test.starts_with(|c: char| c.is_ascii_lowercase());
            if is_test && !names.contains(test) {
                missing.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn code_map_of_the_architecture_page_matches_the_tree() {
    let page = read("ARCHITECTURE.md");
    let mapped: Names = page
        .split("```")
        .skip(1)
        .step_by(2)
        .flat_map(str::lines)
        .filter(|line| line.starts_with("src/"))
        .flat_map(|line| {
            line.split_whitespace()
                .take_while(|word| word.starts_with("src/"))
        })
        .map(|path| path.trim_end_matches(',').to_owned())
        .collect();
    let existing = rust_files("src")
        .into_iter()
        .filter(|file| file.matches('/').count() == 1)
        .collect();
    assert_same("code map", &mapped, &existing);
}
