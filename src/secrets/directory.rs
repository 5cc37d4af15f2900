//! The data directory: readable by its owner only, used by one process at a time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::SecretsError;

/// The file whose lock guards the whole directory.
const LOCK_FILE: &str = "lock";
/// Longest process id of the lock file that is shown.
const PROCESS_ID_BYTES_MAX: u64 = 32;

/// The right to write into a data directory. Released when dropped, or when the process dies.
#[derive(Debug)]
pub struct DataLock {
    directory: PathBuf,
    /// Holds the lock as long as it is open.
    _file: File,
}

impl DataLock {
    /// Creates the directory (mode 0700) when it is missing and takes its lock.
    ///
    /// # Errors
    ///
    /// [`SecretsError::Locked`] when another process has it, else [`SecretsError::Io`].
    pub fn acquire(directory: &Path) -> Result<Self, SecretsError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(SecretsError::io(directory))?;
        let path = directory.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(SecretsError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SecretsError::Locked {
                    directory: directory.to_owned(),
                    process: process_id(&file),
                });
            }
            Err(TryLockError::Error(cause)) => return Err(SecretsError::Io { path, cause }),
        }
        // Only for the message of a second process: the kernel holds the lock itself.
        write_process_id(&mut file).map_err(SecretsError::io(&path))?;
        Ok(Self {
            directory: directory.to_owned(),
            _file: file,
        })
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Creates a file of the data directory, readable by its owner only, if it is missing. SQLite gives
/// its side files the mode of the main one.
///
/// # Errors
///
/// When it can be neither opened nor created.
pub fn make_private_file(path: &Path) -> std::io::Result<()> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map(|_| ())
}

fn write_process_id(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn process_id(file: &File) -> Option<String> {
    let mut text = String::new();
    file.take(PROCESS_ID_BYTES_MAX)
        .read_to_string(&mut text)
        .ok()?;
    let text = text.trim();
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.to_owned())
}

/// Writes a secret into a file (mode 0600) atomically. The directory's lock excludes a second
/// writer.
pub(super) fn write_secret(lock: &DataLock, name: &str, text: &str) -> Result<(), SecretsError> {
    let path = lock.directory.join(name);
    let unfinished = lock.directory.join(format!("{name}.unfinished"));
    match fs::remove_file(&unfinished) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            return Err(SecretsError::Io {
                path: unfinished,
                cause,
            });
        }
        Ok(()) | Err(_) => {}
    }
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        // The new name must survive a loss of power too.
        File::open(&lock.directory)?.sync_all()
    };
    write().map_err(SecretsError::io(&path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directory_is_made_for_the_owner_only_and_locked_once() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("deep/data");
        let lock = DataLock::acquire(&directory).unwrap();
        let mode = fs::metadata(&directory).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);

        let error = DataLock::acquire(&directory).unwrap_err().to_string();
        assert!(error.contains("deep/data"), "{error}");
        assert!(error.contains(&std::process::id().to_string()), "{error}");

        drop(lock);
        DataLock::acquire(&directory).unwrap();
    }

    #[test]
    fn secret_is_written_whole_with_its_mode_over_a_leftover() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("key.unfinished"), "half").unwrap();
        let lock = DataLock::acquire(directory.path()).unwrap();
        write_secret(&lock, "key", "secret").unwrap();
        let path = directory.path().join("key");
        assert_eq!(fs::read_to_string(&path).unwrap(), "secret\n");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(!directory.path().join("key.unfinished").exists());
    }
}
