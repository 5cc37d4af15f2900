//! `docs/operations.md` has every key, metric and command. All documents name only those that exist.

use super::{
    documents::{Names, assert_same, names_in, quoted_in, snake_case, tokens},
    files::{documents, product_files, read, rust_files},
    tokens::{Token, variants, without_tests},
};

/// Every key of the configuration, as `section.key`.
fn config_keys() -> Names {
    let mut keys = Names::new();
    let mut section = String::new();
    for line in read("config/default.toml").lines() {
        // Keys without a default, and lists of tables, are commented out.
        let bare = line.strip_prefix("# ").unwrap_or(line);
        if let Some(list) = bare.strip_prefix("[[") {
            keys.insert(list.trim_end_matches("]]").to_owned());
            section.clear();
            if line.starts_with('#') {
                section = "#".to_owned();
            }
        } else if line.starts_with('[') {
            section = format!("{}.", line.trim_matches(['[', ']']));
        } else if let Some((key, _)) = bare.split_once(" = ")
            && section != "#"
            && !key.contains(|c: char| !c.is_ascii_lowercase() && c != '_')
        {
            keys.insert(format!("{section}{key}"));
        }
    }
    assert!(keys.len() > 40, "{keys:?}");
    keys
}

/// Every metric, as Prometheus shows it: first arguments of what makes families.
fn metrics() -> Names {
    const MAKERS: [&str; 6] = [
        "gauge",
        "counter",
        "counters",
        "histogram",
        "options",
        "Opts",
    ];
    let mut found = Names::new();
    for file in product_files() {
        let tokens = without_tests(&tokens(&file));
        for (at, token) in tokens.iter().enumerate() {
            let Some(name) = token.text() else { continue };
            let is_name =
                !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            let makes = tokens[..at].iter().rev().take(6).find_map(Token::word);
            let is_first = at > 0 && tokens[at - 1].is('(');
            let is_maker = makes.is_some_and(|word| {
                MAKERS.contains(&word) || (word == "new" && file.contains("metrics"))
            });
            if is_name && is_first && is_maker {
                let bare = name.strip_prefix("callboard_").unwrap_or(name);
                found.insert(format!("callboard_{bare}"));
            }
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

/// Words that begin like this, in a text.
fn words_like(text: &str, start: &str) -> Names {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.split(|c| !is_word(c))
        .filter(|word| word.starts_with(start) && word.len() > start.len())
        .map(|word| word.trim_end_matches(['_', '-']).to_owned())
        .collect()
}

#[test]
fn every_key_of_the_configuration_is_in_the_operations_page() {
    let keys = config_keys();
    let documented: Names = quoted_in("docs/operations.md").into_iter().collect();
    let missing: Vec<&String> = keys
        .iter()
        .filter(|key| !documented.contains(*key))
        .collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
}

#[test]
fn keys_of_the_configuration_in_documents_exist() {
    let keys = config_keys();
    let sections: Names = keys
        .iter()
        .filter_map(|key| key.split_once('.'))
        .map(|(section, _)| section.to_owned())
        .collect();
    let mut unknown = Vec::new();
    for document in documents() {
        for name in quoted_in(&document) {
            let name = name.split(" = ").next().unwrap_or_default();
            let Some((section, key)) = name.split_once('.') else {
                continue;
            };
            let is_key = sections.contains(section)
                && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if is_key && !["rs", "md", "toml"].contains(&key) && !keys.contains(name) {
                unknown.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_metric_is_in_the_operations_page_and_no_other_is_named() {
    let existing = metrics();
    let documented: Names = names_in(&read("docs/operations.md"), 0)
        .into_iter()
        .filter(|name| name.starts_with("callboard_"))
        .collect();
    assert_same("metrics", &documented, &existing);
    for document in documents() {
        let named = words_like(&read(&document), "callboard_");
        let unknown: Vec<&String> = named.difference(&existing).collect();
        assert!(unknown.is_empty(), "{document}: {unknown:?}");
    }
}

#[test]
fn variables_of_the_environment_in_documents_exist() {
    let keys = config_keys();
    let of_keys = keys
        .iter()
        .map(|key| format!("CALLBOARD_{}", key.replace('.', "__").to_uppercase()));
    let mut existing: Names = of_keys.collect();
    existing.insert("CALLBOARD_CONFIG".to_owned());
    for folder in ["src", "tests"] {
        for file in rust_files(folder) {
            let tokens = tokens(&file);
            let texts = tokens.iter().filter_map(Token::text);
            existing.extend(
                texts
                    .filter(|text| text.starts_with("CALLBOARD_"))
                    .map(str::to_owned),
            );
        }
    }
    for document in documents() {
        let named = words_like(&read(&document), "CALLBOARD_");
        let unknown: Vec<&String> = named.difference(&existing).collect();
        assert!(unknown.is_empty(), "{document}: {unknown:?}");
    }
}

#[test]
fn flags_in_documents_exist() {
    // Flags of cargo, Redis, PostgreSQL and of the shell's programs.
    const OTHERS: [&str; 13] = [
        "--release",
        "--test",
        "--lib",
        "--bench",
        "--profile",
        "--port",
        "--save",
        "--daemonize",
        "--quiet",
        "--nocapture",
        "--help",
        "--url",
        "--locked",
    ];
    let mut existing = Names::new();
    for folder in ["src/cli", "tests/faults", "benches"] {
        for file in rust_files(folder) {
            let words = tokens(&file);
            existing.extend(
                words
                    .iter()
                    .filter_map(Token::word)
                    .map(|word| format!("--{}", word.replace('_', "-"))),
            );
        }
    }
    existing.extend(OTHERS.map(str::to_owned));
    existing.insert("--config".to_owned());
    existing.insert("--data".to_owned());
    existing.insert("--database".to_owned());
    for document in documents() {
        let named = words_like(&read(&document), "--");
        let unknown: Vec<&String> = named
            .iter()
            .filter(|flag| flag.starts_with("--") && flag[2..].starts_with(char::is_alphabetic))
            .filter(|flag| !existing.contains(*flag))
            .collect();
        assert!(unknown.is_empty(), "{document}: {unknown:?}");
    }
}

#[test]
fn commands_in_the_operations_page_exist() {
    let section = read("docs/operations.md");
    let start = section.find("\n## Commands").unwrap();
    let end = section[start + 1..].find("\n## ").unwrap() + start;
    let documented: Names = names_in(&section[start..end], 0)
        .iter()
        .filter_map(|name| name.strip_prefix("callboard "))
        .map(str::to_owned)
        .collect();
    let existing = variants(&tokens("src/cli.rs"), "Command");
    let existing = existing.iter().map(|name| snake_case(name)).collect();
    assert_same("commands", &documented, &existing);
}
