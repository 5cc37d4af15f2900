//! The rules.
pub mod command;
pub mod record;
pub mod settings;
pub mod view;
