//! The directory itself: its lock, its files, and how they are replaced.

use super::document::{Document, VERSION};
use super::secrets::{self, Secrets};
use crate::error::Error;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const LOCK: &str = "lock";
const STATE: &str = "state.json";
const SECRETS: &str = "secrets.json";

/// The state directory, ours alone while this value lives.
pub struct StateDir {
    dir: PathBuf,
    /// Holds the lock; the kernel lets go of it when the process dies.
    _lock: File,
}

impl StateDir {
    /// Opens the directory, making it (0700) if there is none, and locks it.
    ///
    /// # Errors
    /// Another server has it, or it cannot be used.
    pub fn open(dir: &Path) -> Result<StateDir, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io(dir))?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(Error::io(dir))?;
        let path = dir.join(LOCK);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.map_err(Error::io(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(StateDir { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(e)) => Err(Error::io(path)(e)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Reads state and secrets; none if this is a new server.
    ///
    /// # Errors
    /// A file cannot be read or is damaged.
    pub fn load(&self) -> Result<Option<(Document, Secrets)>, Error> {
        let Some(text) = self.read(STATE)? else { return Ok(None) };
        let bad = |why: String| Error::BadState { file: self.dir.join(STATE), why };
        let document: Document = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if document.version != VERSION {
            return Err(bad(format!("version {} is not {VERSION}: update Ashlar", document.version)));
        }
        let secrets = match self.read(SECRETS)? {
            Some(text) => secrets::from_text(&text)
                .map_err(|why| Error::BadState { file: self.dir.join(SECRETS), why: why.into() })?,
            None => Secrets::new(),
        };
        Ok(Some((document, secrets)))
    }

    /// Replaces the state, durably.
    ///
    /// # Errors
    /// It cannot be written; the old state stays.
    pub fn save(&self, document: &Document) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|e| Error::BadState { file: self.dir.join(STATE), why: e.to_string() })?;
        self.replace(STATE, text.as_bytes())
    }

    /// Replaces the secrets, durably.
    ///
    /// # Errors
    /// They cannot be written; the old ones stay.
    pub fn save_secrets(&self, secrets: &Secrets) -> Result<(), Error> {
        self.replace(SECRETS, secrets::to_text(secrets).as_bytes())
    }

    fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        let path = self.dir.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(path)(e)),
        }
    }

    fn replace(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let (path, beside) = (self.dir.join(name), self.dir.join(format!("{name}.new")));
        let written = (|| {
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.dir)?.sync_all()
        })();
        written.map_err(Error::io(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::state::{HostId, HostSecrets};

    #[test]
    fn only_one_server_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateDir::open(dir.path()).unwrap();
        assert!(matches!(StateDir::open(dir.path()), Err(Error::Locked { .. })));
        drop(first);
        assert!(StateDir::open(dir.path()).is_ok());
    }

    #[test]
    fn what_was_saved_is_loaded_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("deep/state")).unwrap();
        assert!(state.load().unwrap().is_none());
        let document = Document::new("0123456789ab".into());
        let secret = Secret::new(b"correct horse".to_vec()).unwrap();
        let secrets = Secrets::from([(HostId(3), HostSecrets { secret, mutual: None })]);
        state.save(&document).unwrap();
        state.save_secrets(&secrets).unwrap();
        assert_eq!(state.load().unwrap(), Some((document, secrets)));
        for name in [STATE, SECRETS, LOCK] {
            let mode = fs::metadata(state.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_eq!(fs::metadata(state.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn damage_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        fs::write(dir.path().join(STATE), "{\"version\":").unwrap();
        let error = state.load().unwrap_err().to_string();
        assert!(error.contains("state.json is damaged"), "{error}");
    }
}
