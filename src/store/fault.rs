//! Errors of the database, told apart by what helps: waiting or looking into it.

use diesel::{
    ConnectionError,
    result::{DatabaseErrorKind, Error},
};
use diesel_async::pooled_connection::{PoolError, deadpool};
use thiserror::Error as ThisError;

/// A failed call. The text is for logs: it names causes, never credentials.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum StoreFault {
    /// The database is away, does not answer in time or has no room: the same call may succeed
    /// later.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// A wrong address, a bug or a damaged database. Waiting does not help.
    #[error("database: {0}")]
    Broken(String),
}

impl StoreFault {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Broken(_) => false,
        }
    }
}

/// SQLite's messages for states that pass, such as a lock held elsewhere or a full disk. They have
/// no error kind of their own.
const SQLITE_PASSING: [&str; 5] = [
    "database is locked",
    "database table is locked",
    "database or disk is full",
    "disk I/O error",
    "unable to open database file",
];

impl From<Error> for StoreFault {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        let passes = match &error {
            Error::DatabaseError(kind, information) => match kind {
                DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::SerializationFailure
                // A primary that became a standby.
                | DatabaseErrorKind::ReadOnlyTransaction => true,
                _ => SQLITE_PASSING.contains(&information.message()),
            },
            Error::RollbackErrorOnCommit { .. } | Error::BrokenTransactionManager => true,
            _ => false,
        };
        if passes {
            Self::Unavailable(text)
        } else {
            Self::Broken(text)
        }
    }
}

impl From<ConnectionError> for StoreFault {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::BadConnection(text) => Self::Unavailable(text),
            ConnectionError::CouldntSetupConfiguration(error) => error.into(),
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<deadpool::PoolError> for StoreFault {
    fn from(error: deadpool::PoolError) -> Self {
        match error {
            deadpool::PoolError::Backend(PoolError::ConnectionError(error)) => error.into(),
            deadpool::PoolError::Backend(PoolError::QueryError(error)) => error.into(),
            other => Self::Unavailable(other.to_string()),
        }
    }
}
