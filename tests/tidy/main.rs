//! The shape of the tree, kept by tests: layers, words, lengths, and documents that name what exists.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod documents;
mod files;
mod imports;
mod layers;
mod lengths;
mod operations_page;
mod protocol_page;
mod tokens;
mod words;
