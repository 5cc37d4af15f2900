//! Rust source as tokens and comments: as much of the grammar as the other files need.

/// A piece of code and the line it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An identifier, a keyword or a number.
    Word(String),
    /// A string literal without its quotes, escapes as written.
    Text(String),
    Punct(char),
}

impl Token {
    pub fn is(&self, punct: char) -> bool {
        self.kind == Kind::Punct(punct)
    }

    pub fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            Kind::Text(_) | Kind::Punct(_) => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            Kind::Word(_) | Kind::Punct(_) => None,
        }
    }
}

/// Code and comments of one file. A comment is one line of it.
#[derive(Debug, Default)]
pub struct Source {
    pub tokens: Vec<Token>,
    pub comments: Vec<(usize, String)>,
}

impl Source {
    pub fn parse(text: &str) -> Self {
        let mut lexer = Lexer {
            chars: text.chars().collect(),
            at: 0,
            line: 1,
            source: Self::default(),
        };
        while lexer.at < lexer.chars.len() {
            lexer.step();
        }
        lexer.source
    }
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    source: Source,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn next(&mut self) -> char {
        let next = self.peek(0);
        self.at += 1;
        self.line += usize::from(next == '\n');
        next
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.line_comment(),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('r' | 'b' | 'c', _) if self.raw_hashes().is_some() => self.prefixed_string(),
            ('\'', _) => self.character_or_lifetime(),
            (first, _) if first.is_alphanumeric() || first == '_' => self.word(),
            (first, _) if first.is_whitespace() => drop(self.next()),
            (first, _) => {
                self.push(Kind::Punct(first), self.line);
                self.next();
            }
        }
    }

    fn push(&mut self, kind: Kind, line: usize) {
        self.source.tokens.push(Token { kind, line });
    }

    fn line_comment(&mut self) {
        let start = self.at;
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            self.at += 1;
        }
        let text = self.chars[start..self.at].iter().collect();
        self.source.comments.push((self.line, text));
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.at += 2;
                }
                ('*', '/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => drop(self.next()),
            }
        }
    }

    /// The `#`s of a raw string, or 0 of a byte string, that begins here. None if no string does.
    fn raw_hashes(&self) -> Option<usize> {
        let prefix = self.chars[self.at..]
            .iter()
            .take(3)
            .take_while(|prefix| "brc".contains(**prefix))
            .count();
        let is_raw = self.chars[self.at..self.at + prefix].contains(&'r');
        let hashes = (0..).take_while(|n| self.peek(prefix + n) == '#').count();
        (self.peek(prefix + hashes) == '"' && (is_raw || hashes == 0)).then_some(hashes)
    }

    fn prefixed_string(&mut self) {
        let hashes = self.raw_hashes().unwrap_or(0);
        let mut is_raw = false;
        while self.peek(0) != '"' {
            is_raw |= self.next() == 'r';
        }
        if !is_raw {
            return self.string();
        }
        let line = self.line;
        self.next();
        let end: Vec<char> = std::iter::once('"')
            .chain(std::iter::repeat_n('#', hashes))
            .collect();
        let start = self.at;
        while self.at < self.chars.len() && !self.chars[self.at..].starts_with(&end) {
            self.next();
        }
        let text = self.chars[start..self.at].iter().collect();
        self.at += end.len();
        self.push(Kind::Text(text), line);
    }

    fn string(&mut self) {
        let line = self.line;
        self.next();
        let mut text = String::new();
        while self.at < self.chars.len() {
            match self.next() {
                '"' => break,
                '\\' => {
                    text.push('\\');
                    text.push(self.next());
                }
                other => text.push(other),
            }
        }
        self.push(Kind::Text(text), line);
    }

    fn character_or_lifetime(&mut self) {
        self.next();
        if self.peek(0) == '\\' {
            self.at += 2;
            while self.at < self.chars.len() && self.next() != '\'' {}
        } else if self.peek(1) == '\'' {
            self.next();
            self.next();
        } else {
            // A lifetime: its name is of no interest.
            while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
                self.at += 1;
            }
        }
    }

    fn word(&mut self) {
        let start = self.at;
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.at += 1;
        }
        let text = self.chars[start..self.at].iter().collect();
        self.push(Kind::Word(text), self.line);
    }
}

/// The tokens without `#[cfg(test)] mod name {…}` and `#[cfg(test)] mod name;`.
pub fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let (mut product, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if let Some(after) = test_module(tokens, at) {
            at = after;
        } else {
            product.push(tokens[at].clone());
            at += 1;
        }
    }
    product
}

/// What follows a test module that begins here. None if none does.
fn test_module(tokens: &[Token], at: usize) -> Option<usize> {
    const ATTRIBUTE: [Result<&str, char>; 7] = [
        Err('#'),
        Err('['),
        Ok("cfg"),
        Err('('),
        Ok("test"),
        Err(')'),
        Err(']'),
    ];
    let is_attribute = ATTRIBUTE.iter().enumerate().all(|(offset, expected)| {
        tokens.get(at + offset).is_some_and(|token| match expected {
            Ok(word) => token.word() == Some(word),
            Err(punct) => token.is(*punct),
        })
    });
    let module = at + ATTRIBUTE.len();
    if !is_attribute || tokens.get(module)?.word() != Some("mod") {
        return None;
    }
    let mut depth = 0;
    for (offset, token) in tokens[module..].iter().enumerate() {
        depth += i32::from(token.is('{')) - i32::from(token.is('}'));
        if depth == 0 && (token.is(';') || token.is('}')) {
            return Some(module + offset + 1);
        }
    }
    None
}

/// The variants of an enum, if the tokens declare it.
pub fn variants(tokens: &[Token], name: &str) -> Vec<String> {
    let Some(start) = tokens
        .windows(2)
        .position(|pair| pair[0].word() == Some("enum") && pair[1].word() == Some(name))
    else {
        return Vec::new();
    };
    let body = tokens[start..].iter().position(|token| token.is('{'));
    let mut names = Vec::new();
    let (mut depth, mut is_start, mut is_attribute) = (0, true, false);
    for token in &tokens[start + body.unwrap_or(0)..] {
        match &token.kind {
            Kind::Punct('#') if depth == 1 => is_attribute = true,
            Kind::Punct('{' | '(' | '[') => depth += 1,
            Kind::Punct('}' | ')' | ']') => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
                is_attribute &= depth != 1;
            }
            Kind::Punct(',') if depth == 1 => is_start = true,
            Kind::Word(word) if depth == 1 && is_start && !is_attribute => {
                names.push(word.clone());
                is_start = false;
            }
            Kind::Word(_) | Kind::Text(_) | Kind::Punct(_) => {}
        }
    }
    names
}

#[test]
fn code_comments_and_strings_are_told_apart() {
    let source = Source::parse(
        "use a::b; // c \"d\"\nlet x = r#\"crate::no\"#; /* e /* f */ */ 'y' 'z: &'a b\"g\\\"h\"",
    );
    let words: Vec<&str> = source.tokens.iter().filter_map(Token::word).collect();
    assert_eq!(words, ["use", "a", "b", "let", "x"]);
    let texts: Vec<&str> = source.tokens.iter().filter_map(Token::text).collect();
    assert_eq!(texts, ["crate::no", "g\\\"h"]);
    assert_eq!(source.comments, [(1, "// c \"d\"".to_owned())]);
}

#[test]
fn variants_of_an_enum_are_found_with_and_without_fields() {
    let source = Source::parse(
        "enum A { X } #[d(x)] pub enum Kind<'a> { #[serde(x, y)] One { a: B, c: D }, Two(E, F), Three }",
    );
    assert_eq!(variants(&source.tokens, "Kind"), ["One", "Two", "Three"]);
}
