//! The configuration: a TOML file, and flags that win over it. `docs/ashlar.toml` shows every option.

use crate::args::ServeArgs;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;
use volume_manager::pool::EngineSettings;
use volume_manager::size::BadSize;
use volume_manager::Size;

/// What the daemon runs with.
pub(crate) struct Config {
    pub state_dir: PathBuf,
    pub iscsi_listen: Vec<SocketAddr>,
    pub nfs_listen: Vec<SocketAddr>,
    pub mount_listen: Vec<SocketAddr>,
    pub nlm_listen: Vec<SocketAddr>,
    pub portmap_listen: Vec<SocketAddr>,
    pub register_rpcbind: bool,
    pub advertise: Vec<SocketAddr>,
    pub threads: usize,
    pub staging_bytes: u64,
    pub nfs_staging_bytes: u64,
    pub engine: EngineSettings,
    pub log_level: LevelFilter,
}

/// A configuration of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("{}: {source}: check the path given with --config", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: {}", path.display(), one_line(source))]
    Malformed { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{path}: {option}: {source}", path = path.display())]
    Size { path: PathBuf, option: &'static str, source: BadSize },
    #[error("{address}: a portal needs a port that is not 0: initiators must find it again")]
    NoPort { address: SocketAddr },
    #[error("nfs: portmap-listen and register-rpcbind exclude each other: a machine has one port mapper")]
    TwoPortMappers,
    #[error("0 threads serve nobody: choose 1 or more")]
    NoThreads,
}

fn one_line(error: &toml::de::Error) -> String {
    error.message().replace('\n', " ")
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    iscsi: Iscsi,
    nfs: Nfs,
    server: Server,
    memory: Memory,
    log: Log,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Nfs {
    listen: Vec<SocketAddr>,
    mount_listen: Vec<SocketAddr>,
    nlm_listen: Vec<SocketAddr>,
    portmap_listen: Vec<SocketAddr>,
    register_rpcbind: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Iscsi {
    listen: Vec<SocketAddr>,
    advertise: Vec<SocketAddr>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Server {
    threads: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct Memory {
    block_cache: String,
    map_cache: String,
    in_flight: String,
    entry_cache: String,
    staging: String,
    nfs_staging: String,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            block_cache: "1G".into(),
            map_cache: "64M".into(),
            in_flight: "64M".into(),
            entry_cache: "64M".into(),
            staging: "128M".into(),
            nfs_staging: "128M".into(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Log {
    level: Level,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Config {
    /// The file's options, with the flags' over them.
    pub(crate) fn load(args: ServeArgs) -> Result<Config, ConfigError> {
        let path = args.config.clone().unwrap_or_default();
        let file: File = match &args.config {
            None => File::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
                toml::from_str(&text)
                    .map_err(|e| ConfigError::Malformed { path: path.clone(), source: Box::new(e) })?
            }
        };
        let bytes = |option, text: &str| match text.parse::<Size>() {
            Ok(size) => Ok(size.0),
            Err(source) => Err(ConfigError::Size { path: path.clone(), option, source }),
        };
        let or = |flags: Vec<SocketAddr>, file: Vec<SocketAddr>| if flags.is_empty() { file } else { flags };
        let iscsi_listen = or(args.iscsi_listen, file.iscsi.listen);
        if let Some(address) = iscsi_listen.iter().find(|address| address.port() == 0) {
            return Err(ConfigError::NoPort { address: *address });
        }
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = args.threads.or(file.server.threads).unwrap_or_else(processors);
        if threads == 0 {
            return Err(ConfigError::NoThreads);
        }
        let portmap_listen = or(args.portmap_listen, file.nfs.portmap_listen);
        let register_rpcbind = args.register_rpcbind || file.nfs.register_rpcbind;
        if register_rpcbind && !portmap_listen.is_empty() {
            return Err(ConfigError::TwoPortMappers);
        }
        Ok(Config {
            state_dir: args.state_dir,
            iscsi_listen,
            nfs_listen: or(args.nfs_listen, file.nfs.listen),
            mount_listen: or(args.mount_listen, file.nfs.mount_listen),
            nlm_listen: or(args.nlm_listen, file.nfs.nlm_listen),
            portmap_listen,
            register_rpcbind,
            advertise: or(args.advertise, file.iscsi.advertise),
            threads,
            staging_bytes: bytes("memory.staging", &file.memory.staging)?,
            nfs_staging_bytes: bytes("memory.nfs-staging", &file.memory.nfs_staging)?,
            engine: EngineSettings {
                block_cache_bytes: bytes("memory.block-cache", &file.memory.block_cache)?,
                map_cache_bytes: bytes("memory.map-cache", &file.memory.map_cache)?,
                in_flight_bytes: bytes("memory.in-flight", &file.memory.in_flight)?,
                entry_cache_bytes: bytes("memory.entry-cache", &file.memory.entry_cache)?,
            },
            log_level: match file.log.level {
                Level::Error => LevelFilter::ERROR,
                Level::Warn => LevelFilter::WARN,
                Level::Info => LevelFilter::INFO,
                Level::Debug => LevelFilter::DEBUG,
                Level::Trace => LevelFilter::TRACE,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(config: Option<PathBuf>) -> ServeArgs {
        ServeArgs {
            state_dir: "/s".into(),
            config,
            iscsi_listen: vec![],
            nfs_listen: vec![],
            mount_listen: vec![],
            nlm_listen: vec![],
            portmap_listen: vec![],
            register_rpcbind: false,
            advertise: vec![],
            threads: None,
        }
    }

    #[test]
    fn the_documented_file_says_what_is_so_without_one() {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ashlar.toml"));
        let (file, none) = (Config::load(args(Some(path))).unwrap(), Config::load(args(None)).unwrap());
        assert_eq!((file.iscsi_listen, file.advertise), (none.iscsi_listen, none.advertise));
        assert_eq!((file.nfs_listen, file.mount_listen), (none.nfs_listen, none.mount_listen));
        assert_eq!((file.nlm_listen, file.portmap_listen), (none.nlm_listen, none.portmap_listen));
        assert_eq!(file.register_rpcbind, none.register_rpcbind);
        assert_eq!((file.staging_bytes, file.engine), (none.staging_bytes, none.engine));
        assert_eq!(file.nfs_staging_bytes, none.nfs_staging_bytes);
        assert_eq!(file.log_level, none.log_level);
    }

    #[test]
    fn mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.toml");
        for (text, words) in [
            ("[iscsi]\nlisten = [\"nowhere\"]", "socket address"),
            ("[iscis]\n", "unknown field"),
            ("[nfs]\nportmap-listen = [\"[::]:111\"]\nregister-rpcbind = true", "one port mapper"),
            ("[memory]\nblock-cache = \"lots\"", "memory.block-cache"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Config::load(args(Some(path.clone()))).err().unwrap().to_string();
            assert!(error.contains(words) && !error.contains('\n'), "{error}");
        }
    }
}
