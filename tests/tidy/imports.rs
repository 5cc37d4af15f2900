//! Which module uses which: all paths of `src` that begin with `crate`, `self` or `super`, in `use` trees and in code.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{Kind, Source, Token, without_tests};

/// A path with the line it begins on; its segments begin below the crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub segments: Vec<String>,
    pub line: usize,
}

/// The module of a file: `src/actor/room.rs` is `actor`, `room`.
pub fn module_of(file: &str) -> Vec<String> {
    let inner = file.strip_prefix("src/").unwrap_or(file);
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    inner.split('/').map(str::to_owned).collect()
}

/// All paths within the crate that a file names outside of its tests.
pub fn paths(source: &Source, module: &[String]) -> Vec<Path> {
    let tokens = &without_tests(&source.tokens);
    let mut found = Vec::new();
    // Inline modules that are open, with the depth of braces they began at.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let (mut at, mut depth) = (0, 0);
    while at < tokens.len() {
        match &tokens[at].kind {
            Kind::Punct('{') => depth += 1,
            Kind::Punct('}') => {
                depth -= 1;
                if inline.last().is_some_and(|(_, start)| *start == depth) {
                    inline.pop();
                }
            }
            Kind::Word(word) if word == "mod" && is_at(tokens, at + 2, '{') => {
                let name = tokens[at + 1].word().unwrap_or_default();
                inline.push((name.to_owned(), depth));
            }
            Kind::Word(word)
                if ["crate", "self", "super"].contains(&word.as_str())
                    && is_separator(tokens, at + 1)
                    && !is_inside_path(tokens, at)
                    && !is_visibility(tokens, at) =>
            {
                let mut base = module.to_vec();
                base.extend(inline.iter().map(|(name, _)| name.clone()));
                let line = tokens[at].line;
                let after = root(tokens, at, &mut base);
                at = tree(tokens, after, &base, line, &mut found);
                continue;
            }
            Kind::Word(_) | Kind::Text(_) | Kind::Punct(_) => {}
        }
        at += 1;
    }
    found
}

fn is_at(tokens: &[Token], at: usize, punct: char) -> bool {
    tokens.get(at).is_some_and(|token| token.is(punct))
}

fn is_separator(tokens: &[Token], at: usize) -> bool {
    is_at(tokens, at, ':') && is_at(tokens, at + 1, ':')
}

/// `pub(in crate::a)` restricts and uses nothing.
fn is_visibility(tokens: &[Token], at: usize) -> bool {
    at >= 2 && tokens[at - 1].word() == Some("in") && tokens[at - 2].is('(')
}

fn is_inside_path(tokens: &[Token], at: usize) -> bool {
    at >= 2 && is_separator(tokens, at - 2)
}

/// Turns the module into the one that `crate::`, `self::` or `super::super::` name. Returns what follows them.
fn root(tokens: &[Token], mut at: usize, base: &mut Vec<String>) -> usize {
    while let Some(word) = tokens.get(at).and_then(Token::word) {
        match word {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        if !is_separator(tokens, at + 1) {
            return at + 1;
        }
        at += 3;
    }
    at
}

/// Reads `a::{b::c, d as e, *}` below a base. Returns what follows it.
fn tree(
    tokens: &[Token],
    mut at: usize,
    base: &[String],
    line: usize,
    found: &mut Vec<Path>,
) -> usize {
    let mut segments = base.to_vec();
    while let Some(token) = tokens.get(at) {
        match &token.kind {
            Kind::Word(word) => {
                match word.as_str() {
                    "self" => {}
                    "super" => drop(segments.pop()),
                    name => segments.push(name.to_owned()),
                }
                at += 1;
                if !is_separator(tokens, at) {
                    break;
                }
                at += 2;
            }
            Kind::Punct('{') => {
                at += 1;
                while at < tokens.len() && !is_at(tokens, at, '}') {
                    at = tree(tokens, at, &segments, tokens[at].line, found);
                    // `as name` and the comma.
                    while at < tokens.len() && !is_at(tokens, at, ',') && !is_at(tokens, at, '}') {
                        at += 1;
                    }
                    at += usize::from(is_at(tokens, at, ','));
                }
                return at + 1;
            }
            // A glob, or the generics of `crate::A::<B>`.
            Kind::Punct(_) | Kind::Text(_) => {
                at += 1;
                break;
            }
        }
    }
    found.push(Path { segments, line });
    at
}

/// Who uses whom, each with one place as an example.
pub type Uses = BTreeMap<String, BTreeMap<String, String>>;

/// Uses that lie on a circle, as `a -> b (place)`. A circle is named once for each of its uses.
pub fn circles(uses: &Uses) -> Vec<String> {
    let mut found = Vec::new();
    for (from, targets) in uses {
        for (to, place) in targets {
            if reachable(uses, to).contains(from) {
                found.push(format!("{from} -> {to} ({place})"));
            }
        }
    }
    found
}

fn reachable(uses: &Uses, start: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut open = vec![start.to_owned()];
    while let Some(node) = open.pop() {
        if seen.insert(node.clone()) {
            open.extend(
                uses.get(&node)
                    .into_iter()
                    .flatten()
                    .map(|(to, _)| to.clone()),
            );
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &str, expected: &[&str]) {
        let module = ["actor".to_owned(), "room".to_owned()];
        let found: Vec<String> = paths(&Source::parse(code), &module)
            .iter()
            .map(|path| path.segments.join("::"))
            .collect();
        assert_eq!(found, expected, "{code}");
    }

    #[test]
    fn trees_of_use_are_read() {
        check("use crate::{a::b, c};", &["a::b", "c"]);
        check(
            "use crate::a::{self, b::{C, D as E}, f::*};",
            &["a", "a::b::C", "a::b::D", "a::f"],
        );
        check("use super::super::x::Y;", &["x::Y"]);
        check("use super::{super::x::Y, z};", &["x::Y", "actor::z"]);
        check("use self::delivery::D;", &["actor::room::delivery::D"]);
        check("use std::fmt; use actix::Addr;", &[]);
    }

    #[test]
    fn paths_in_code_are_read_and_those_of_tests_are_not() {
        check(
            "fn f() -> crate::ids::Seq { crate::x::g::<u8>(super::h) }",
            &["ids::Seq", "x::g", "actor::h"],
        );
        check("pub(in crate::actor) fn f() {}", &[]);
        check(
            "mod inner { use super::X; } use super::Y;",
            &["actor::room::X", "actor::Y"],
        );
        check(
            "#[cfg(test)] mod tests { use crate::http::Z; } use crate::w;",
            &["w"],
        );
        check("// crate::x\nconst A: &str = \"crate::y\";", &[]);
    }

    #[test]
    fn circles_are_found_and_chains_are_not() {
        let uses = |pairs: &[(&str, &str)]| {
            let mut uses = Uses::new();
            for (from, to) in pairs {
                let targets = uses.entry((*from).to_owned()).or_default();
                targets.insert((*to).to_owned(), "here".to_owned());
            }
            uses
        };
        assert!(circles(&uses(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
        let circle = circles(&uses(&[("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]));
        assert_eq!(circle, ["a -> b (here)", "b -> c (here)", "c -> a (here)"]);
    }
}
