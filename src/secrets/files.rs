//! Reads the server's secrets from the environment, else from files of the data directory, which
//! are created at the first start.

use std::{
    fmt,
    fs::{self, File},
    io::{ErrorKind, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{
    ApiKeyText, DataLock, SecretsError, SigningKey, api_key::KEY_TEXT_RULE, directory::write_secret,
};

/// Variable of the signing key.
pub const SIGNING_KEY_VARIABLE: &str = "CALLBOARD_SIGNING_KEY";
/// Variable of the first API key.
pub const BOOTSTRAP_API_KEY_VARIABLE: &str = "CALLBOARD_BOOTSTRAP_API_KEY";
/// File of the signing key.
const SIGNING_KEY_FILE: &str = "signing.key";
/// File of the first API key.
pub const API_KEY_FILE: &str = "api-key";
/// Longest content of such a file.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// Secrets given by the environment. Empty variables count as absent.
#[derive(Clone, Default)]
pub struct GivenSecrets {
    /// [`SIGNING_KEY_VARIABLE`].
    pub signing_key: Option<String>,
    /// [`BOOTSTRAP_API_KEY_VARIABLE`].
    pub bootstrap_api_key: Option<String>,
}

impl GivenSecrets {
    /// Reads them from the process's variables.
    #[must_use]
    pub fn from_environment(environment: &[(String, String)]) -> Self {
        let find = |wanted: &str| {
            environment
                .iter()
                .find(|(name, value)| name == wanted && !value.trim().is_empty())
                .map(|(_, value)| value.clone())
        };
        Self {
            signing_key: find(SIGNING_KEY_VARIABLE),
            bootstrap_api_key: find(BOOTSTRAP_API_KEY_VARIABLE),
        }
    }

    /// Returns what is wrong, by variable.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let signing = self.signing().err().map(|error| error.to_string());
        let bootstrap = self.bootstrap().err().map(str::to_owned);
        [
            (SIGNING_KEY_VARIABLE, signing),
            (BOOTSTRAP_API_KEY_VARIABLE, bootstrap),
        ]
        .into_iter()
        .filter_map(|(name, problem)| problem.map(|problem| (name, problem)))
        .collect()
    }

    /// Returns the secrets if both are given and valid, so that the node needs no file for them.
    #[must_use]
    pub fn complete(&self) -> Option<Secrets> {
        Some(Secrets {
            signing: self.signing().ok()??,
            bootstrap: self.bootstrap().ok()??,
            is_bootstrap_new: false,
        })
    }

    fn signing(&self) -> Result<Option<SigningKey>, super::SigningKeyTooShort> {
        self.signing_key
            .as_deref()
            .map(SigningKey::from_text)
            .transpose()
    }

    fn bootstrap(&self) -> Result<Option<ApiKeyText>, &'static str> {
        self.bootstrap_api_key
            .as_deref()
            .map(|text| ApiKeyText::parse(text.trim()).ok_or(KEY_TEXT_RULE))
            .transpose()
    }
}

impl fmt::Debug for GivenSecrets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("GivenSecrets(***)")
    }
}

/// The signing key and the first operator's API key.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// The server's key.
    pub signing: SigningKey,
    /// An operator key of the default tenant that is valid without a row in SQL.
    pub bootstrap: ApiKeyText,
    /// Whether the API key was generated just now. It is shown only then.
    pub is_bootstrap_new: bool,
}

/// Returns the secrets of the environment, else those of the data directory. Creates missing ones.
///
/// # Errors
///
/// When a file cannot be read or written, or has other content.
pub fn load_or_create(lock: &DataLock, given: &GivenSecrets) -> Result<Secrets, SecretsError> {
    let signing = match load_signing_key(lock.directory(), given)? {
        Some(key) => key,
        None => {
            let text = SigningKey::generate_text();
            write_secret(lock, SIGNING_KEY_FILE, &text)?;
            SigningKey::from_text(&text).expect("a generated key is long enough")
        }
    };
    let from_environment = given
        .bootstrap()
        .map_err(damaged(Path::new(BOOTSTRAP_API_KEY_VARIABLE)))?;
    let path = lock.directory().join(API_KEY_FILE);
    let known = match from_environment {
        Some(key) => Some(key),
        None => read_secret(&path)?
            .map(|text| {
                ApiKeyText::parse(text.trim())
                    .ok_or(KEY_TEXT_RULE)
                    .map_err(damaged(&path))
            })
            .transpose()?,
    };
    let is_bootstrap_new = known.is_none();
    let bootstrap = match known {
        Some(key) => key,
        None => {
            let key = ApiKeyText::generate();
            write_secret(lock, API_KEY_FILE, &key.expose())?;
            key
        }
    };
    Ok(Secrets {
        signing,
        bootstrap,
        is_bootstrap_new,
    })
}

/// Returns the signing key of the environment, else that of the data directory. `None` if there is
/// none yet.
///
/// # Errors
///
/// When the file cannot be read or has other content.
pub fn load_signing_key(
    directory: &Path,
    given: &GivenSecrets,
) -> Result<Option<SigningKey>, SecretsError> {
    let given = given
        .signing()
        .map_err(damaged(Path::new(SIGNING_KEY_VARIABLE)))?;
    if given.is_some() {
        return Ok(given);
    }
    let path = directory.join(SIGNING_KEY_FILE);
    read_secret(&path)?
        .map(|text| SigningKey::from_text(&text).map_err(damaged(&path)))
        .transpose()
}

fn damaged<E: fmt::Display>(path: &Path) -> impl FnOnce(E) -> SecretsError {
    let path = path.to_owned();
    move |problem| SecretsError::Damaged {
        path,
        problem: problem.to_string(),
    }
}

fn read_secret(path: &Path) -> Result<Option<String>, SecretsError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(SecretsError::io(path)(cause)),
    };
    let mode = fs::metadata(path)
        .map_err(SecretsError::io(path))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "others may read this secret: chmod 600");
    }
    let mut text = String::new();
    file.take(SECRET_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(SecretsError::io(path))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Purpose;

    #[test]
    fn first_start_makes_secrets_and_the_next_finds_them() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DataLock::acquire(directory.path()).unwrap();
        let given = GivenSecrets::default();
        let first = load_or_create(&lock, &given).unwrap();
        let second = load_or_create(&lock, &given).unwrap();
        assert!(first.is_bootstrap_new && !second.is_bootstrap_new);
        assert_eq!(first.bootstrap.expose(), second.bootstrap.expose());
        assert_eq!(
            first.signing.derive(Purpose::JoinToken),
            second.signing.derive(Purpose::JoinToken)
        );
        let line = fs::read_to_string(directory.path().join(API_KEY_FILE)).unwrap();
        assert_eq!(line, format!("{}\n", first.bootstrap.expose()));
        for name in [API_KEY_FILE, SIGNING_KEY_FILE] {
            let mode = fs::metadata(directory.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert!(!format!("{first:?}").contains(&first.bootstrap.expose()));
    }

    #[test]
    fn given_secrets_win_and_leave_no_files() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DataLock::acquire(directory.path()).unwrap();
        let key = ApiKeyText::generate();
        let given = GivenSecrets::from_environment(&[
            (SIGNING_KEY_VARIABLE.to_owned(), "s".repeat(32)),
            (BOOTSTRAP_API_KEY_VARIABLE.to_owned(), key.expose()),
        ]);
        assert_eq!(given.problems(), []);
        let secrets = load_or_create(&lock, &given).unwrap();
        assert_eq!(secrets.bootstrap.expose(), key.expose());
        assert!(given.complete().is_some());
        assert!(!directory.path().join(API_KEY_FILE).exists());
        assert!(!directory.path().join(SIGNING_KEY_FILE).exists());
    }

    #[test]
    fn wrong_variables_are_all_named_and_empty_ones_are_absent() {
        let given = GivenSecrets::from_environment(&[
            (SIGNING_KEY_VARIABLE.to_owned(), "short".to_owned()),
            (BOOTSTRAP_API_KEY_VARIABLE.to_owned(), "secret".to_owned()),
        ]);
        let names: Vec<_> = given.problems().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [SIGNING_KEY_VARIABLE, BOOTSTRAP_API_KEY_VARIABLE]);
        let empty =
            GivenSecrets::from_environment(&[(SIGNING_KEY_VARIABLE.to_owned(), " ".to_owned())]);
        assert!(empty.signing_key.is_none() && empty.complete().is_none());
    }

    #[test]
    fn damaged_file_is_named_and_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DataLock::acquire(directory.path()).unwrap();
        for name in [SIGNING_KEY_FILE, API_KEY_FILE] {
            let path = directory.path().join(name);
            fs::write(&path, "").unwrap();
            let error = load_or_create(&lock, &GivenSecrets::default()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "");
            fs::remove_file(&path).unwrap();
        }
    }
}
