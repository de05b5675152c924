//! The API's socket: who may connect is decided by its directory, its owner and its mode (0660).

use super::ServeError;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use tokio::net::UnixListener;

/// Listens at `path`, which may have been left behind by a daemon that was killed. Its directory is made
/// (0750) if there is none.
pub(super) fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    let refused = |source| ServeError::Listen { what: path.display().to_string(), source };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(refused(std::io::ErrorKind::AddrInUse.into()));
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(refused(e)),
        _ => {}
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty() && !dir.exists()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(refused)?;
    }
    // Bound under a name of its own first: nobody reaches it before its mode is right.
    let beside = path.with_extension("sock.new");
    let _ = std::fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside).map_err(refused)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o660)).map_err(refused)?;
    std::fs::rename(&beside, path).map_err(refused)?;
    Ok(listener)
}
