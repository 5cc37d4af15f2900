//! Secrets: the signing key and the keys derived from it, API keys, join tokens, node tokens.
//!
//! Only methods called `expose` return a secret. `Debug` of every type here leaves it out.

pub mod api_key;
mod directory;
mod files;
pub(crate) mod jwt;
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
        /// The id of the other process, from the lock file.
        process: Option<String>,
    },
    /// The operating system refused.
    #[error("cannot use {}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {problem}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, without the content.
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
