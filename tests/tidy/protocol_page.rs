//! `docs/protocol.md` has every message, reason, error and close code of the source, and no other.

use super::{
    documents::{Names, assert_same, column, names_in, quoted, snake_case, tokens},
    files::{product_files, read},
    tokens::{Token, variants},
};
use callboard::protocol::MessageType;

/// The section of `docs/protocol.md` whose heading begins with a number.
fn protocol_section(number: usize) -> String {
    let text = read("docs/protocol.md");
    let heading = format!("\n## {number}. ");
    let start = text.find(&heading).unwrap() + heading.len();
    let end = text[start..].find("\n## ").unwrap_or(text.len() - start);
    text[start..start + end].to_owned()
}

/// The variants of the enums of these names, wherever `src/protocol` and `src/room` declare them.
fn enum_variants(names: &[&str]) -> Names {
    let sources = product_files()
        .into_iter()
        .filter(|file| file.starts_with("src/protocol") || file.starts_with("src/room"));
    let mut found = Names::new();
    for file in sources {
        let tokens = tokens(&file);
        found.extend(names.iter().flat_map(|name| variants(&tokens, name)));
    }
    assert!(!found.is_empty(), "no enum of {names:?} found");
    found
}

#[test]
fn every_message_of_clients_is_in_the_protocol_page() {
    let documented = names_in(&protocol_section(4), 0);
    let documented = documented
        .into_iter()
        .filter(|name| name.starts_with(char::is_uppercase))
        .collect();
    assert_same(
        "messages of clients",
        &documented,
        &MessageType::ALL
            .iter()
            .map(|message| message.name().to_owned())
            .collect(),
    );
}

#[test]
fn every_message_of_the_server_is_in_the_protocol_page() {
    let section = protocol_section(5);
    let documented: Names = names_in(&section, 0)
        .into_iter()
        .filter(|name| name.starts_with(char::is_uppercase))
        .collect();
    let mut existing = enum_variants(&["Event", "Notice", "RelayedMessage"]);
    existing.insert("Goodbye".to_owned());
    // It is encoded as an `Ack`.
    existing.remove("RelayAck");
    assert_same("messages of the server", &documented, &existing);
}

#[test]
fn every_reason_code_and_close_code_is_in_the_protocol_page() {
    let section = protocol_section(8);
    let reasons = enum_variants(&["GoodbyeReason"]);
    let reasons = reasons.iter().map(|name| snake_case(name)).collect();
    let documented = names_in(&section, 1);
    let documented: Names = documented
        .into_iter()
        .filter(|name| !name.contains(' ') && reasons_column(&section).contains(name))
        .collect();
    assert_same("reasons of a goodbye", &documented, &reasons);

    let documented = column(&section, 0)
        .into_iter()
        .filter(|cell| is_code(cell))
        .collect();
    let mut existing = Names::new();
    for file in product_files()
        .iter()
        .filter(|file| file.ends_with("/goodbye.rs"))
    {
        let words = tokens(file);
        existing.extend(
            words
                .iter()
                .filter_map(Token::word)
                .filter(|word| is_code(word))
                .map(str::to_owned),
        );
    }
    assert_same("close codes", &documented, &existing);

    let codes = enum_variants(&["Code"])
        .iter()
        .map(|name| snake_case(name))
        .collect();
    assert_same(
        "codes of errors",
        &names_in(&protocol_section(7), 0)
            .into_iter()
            .filter(|name| name != "code")
            .collect(),
        &codes,
    );
}

/// The second cells of the rows that begin with a close code.
fn reasons_column(section: &str) -> Names {
    let rows = section.lines().filter(|line| {
        line.split('|')
            .nth(1)
            .is_some_and(|cell| is_code(cell.trim()))
    });
    rows.filter_map(|row| row.split('|').nth(2))
        .flat_map(quoted)
        .map(str::to_owned)
        .collect()
}

fn is_code(text: &str) -> bool {
    text.len() == 4 && text.chars().all(|c| c.is_ascii_digit()) && text < "5000"
}
