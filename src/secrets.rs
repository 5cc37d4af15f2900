//! What must not be known to others: the signing key and what is derived from it, API keys, join tokens, node tokens.
//!
//! A secret shows itself only through a method called `expose`; `Debug` of every type here leaves it out.

pub mod api_key;
mod directory;
mod files;
pub mod node_token;
mod signing;
pub mod token;

use std::{io, path::PathBuf};

use thiserror::Error;

pub use self::{
    api_key::ApiKeyText,
    directory::{DataLock, make_private_file},
    files::{
        API_KEY_FILE, BOOTSTRAP_API_KEY_VARIABLE, GivenSecrets, SIGNING_KEY_VARIABLE, Secrets,
        load_or_create, load_signing_key,
    },
    signing::{Purpose, SIGNING_KEY_BYTES_MIN, SigningKey, SigningKeyTooShort},
};

/// The data directory cannot be used.
#[derive(Debug, Error)]
pub enum SecretsError {
    /// Another process holds the lock.
    #[error("the data directory {} is used by another callboard process{}", .directory.display(), by(.process.as_deref()))]
    Locked {
        /// Which directory.
        directory: PathBuf,
        /// The other process, as it wrote itself down.
        process: Option<String>,
    },
    /// The operating system refused; the source says why.
    #[error("cannot use {}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file is there but does not hold what it should.
    #[error("{}: {problem}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; not its content.
        problem: String,
    },
}

impl SecretsError {
    /// Adds the path to an error of the operating system.
    fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { path, cause }
    }
}

fn by(process: Option<&str>) -> String {
    process.map_or_else(String::new, |id| format!(" (process {id})"))
}
