//! The rules.
pub mod command;
pub mod goodbye;
pub mod record;
pub mod settings;
pub mod view;
