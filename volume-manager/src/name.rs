//! Names: of pools, volumes, snapshots and hosts, alone and as paths.
//!
//! One rule for all of them, so that no name needs quoting in a shell, a URL or an NFS path.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 64;

/// A name: 1 to 64 of letters, digits, `.`, `_`, `-` and `:`, the first a letter or a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A text that is no name, or no path of names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Not a name.
    #[error(
        "{0:?} is no name: use 1 to 64 letters, digits, '.', '_', '-' or ':', \
         beginning with a letter or digit"
    )]
    Name(String),
    /// Not `POOL/VOLUME`.
    #[error("{0:?} does not name a volume: write POOL/VOLUME")]
    Volume(String),
    /// Not `POOL/SHARE/path`.
    #[error("{0:?} names no file: write POOL/SHARE/path, or POOL/VOLUME for a volume")]
    File(String),
    /// Not `POOL/VOLUME@SNAPSHOT`.
    #[error("{0:?} does not name a snapshot: write POOL/VOLUME@SNAPSHOT")]
    Snapshot(String),
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Name, BadName> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
        let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !first || text.len() > NAME_MAX || !text.chars().all(fits) {
            return Err(BadName::Name(text.to_owned()));
        }
        Ok(Name(text.to_owned()))
    }
}

/// A volume, as people write it: `POOL/VOLUME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumePath {
    /// Its pool.
    pub pool: Name,
    /// Its name there.
    pub volume: Name,
}

impl FromStr for VolumePath {
    type Err = BadName;

    fn from_str(text: &str) -> Result<VolumePath, BadName> {
        let (pool, volume) = text.split_once('/').ok_or_else(|| BadName::Volume(text.to_owned()))?;
        Ok(VolumePath { pool: pool.parse()?, volume: volume.parse()? })
    }
}

/// A snapshot, as people write it: `POOL/VOLUME@SNAPSHOT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotPath {
    /// Its volume.
    pub volume: VolumePath,
    /// Its name there.
    pub snapshot: Name,
}

impl FromStr for SnapshotPath {
    type Err = BadName;

    fn from_str(text: &str) -> Result<SnapshotPath, BadName> {
        let (volume, snapshot) = text.split_once('@').ok_or_else(|| BadName::Snapshot(text.to_owned()))?;
        Ok(SnapshotPath { volume: volume.parse()?, snapshot: snapshot.parse()? })
    }
}

/// A file of a share, `POOL/SHARE[@SNAPSHOT]/path`, or a whole volume, `POOL/VOLUME[@SNAPSHOT]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath {
    /// The share or volume.
    pub of: VolumePath,
    /// Its snapshot, if it is meant.
    pub snapshot: Option<Name>,
    /// The file's path in the share; none means the volume.
    pub path: Option<String>,
}

impl FromStr for FilePath {
    type Err = BadName;

    fn from_str(text: &str) -> Result<FilePath, BadName> {
        let bad = || BadName::File(text.to_owned());
        let (pool, rest) = text.split_once('/').ok_or_else(bad)?;
        let (of, path) = match rest.split_once('/') {
            Some((of, path)) => (of, Some(path.trim_matches('/').to_owned())),
            None => (rest, None),
        };
        if path.as_ref().is_some_and(String::is_empty) {
            return Err(bad());
        }
        let (volume, snapshot) = match of.split_once('@') {
            Some((volume, snapshot)) => (volume, Some(snapshot.parse()?)),
            None => (of, None),
        };
        Ok(FilePath { of: VolumePath { pool: pool.parse()?, volume: volume.parse()? }, snapshot, path })
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.of)?;
        if let Some(snapshot) = &self.snapshot {
            write!(f, "@{snapshot}")?;
        }
        self.path.as_ref().map_or(Ok(()), |path| write!(f, "/{path}"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for VolumePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.volume)
    }
}

impl fmt::Display for SnapshotPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.volume, self.snapshot)
    }
}

/// Serde reads and writes these types as text.
macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<$name, BadName> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }
    )*};
}
as_text!(Name, VolumePath, SnapshotPath, FilePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_no_quoting_anywhere() {
        for good in ["a", "db-1", "9", "vm.disk_0:x", &"n".repeat(64)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", ".hidden", "-x", "a b", "a/b", "a@b", "é", "a\n", &"n".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_file_is_named_by_its_share_and_its_path() {
        for text in ["fast/files/a/b c.img", "fast/files@monday/a", "fast/db", "fast/db@monday"] {
            assert_eq!(text.parse::<FilePath>().unwrap().to_string(), text);
        }
        let file: FilePath = "fast/files@monday/a/b".parse().unwrap();
        assert_eq!((file.snapshot.unwrap().as_str(), file.path.unwrap().as_str()), ("monday", "a/b"));
        for bad in ["fast", "fast/files/", "fast/@x/a", ""] {
            assert!(bad.parse::<FilePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_written_as_they_are_read() {
        let path: SnapshotPath = "fast/db@monday".parse().unwrap();
        assert_eq!(path.volume.pool.as_str(), "fast");
        assert_eq!(path.to_string(), "fast/db@monday");
        assert_eq!("fast".parse::<VolumePath>(), Err(BadName::Volume("fast".into())));
        assert_eq!("fast/db".parse::<SnapshotPath>(), Err(BadName::Snapshot("fast/db".into())));
        assert!("fast/db/x".parse::<VolumePath>().is_err());
        let json = serde_json::to_string(&path).unwrap();
        assert_eq!(json, "\"fast/db@monday\"");
        assert_eq!(serde_json::from_str::<SnapshotPath>(&json).unwrap(), path);
    }
}
