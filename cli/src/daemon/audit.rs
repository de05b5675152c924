//! The audit record: who changed what, when, and whether it was done. One JSON object a line, in the state
//! directory's `audit.log` (0600), appended only; full files become `audit.log.1` and so on.
//!
//! Invariants: what only reads is not recorded; a secret is never written, whichever call carries it.

use super::api::BODY_MAX;
use axum::body::{to_bytes, Body};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use serde::Serialize;
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::net::UnixListener;

const NAME: &str = "audit.log";
/// A file that has so many bytes is put aside.
const FULL: u64 = 8 << 20;
/// Files put aside that are kept.
const KEPT: usize = 4;
/// Longest request that is recorded with its content, in bytes.
const CONTENT_MAX: usize = 16 << 10;

/// Who is at the other end of the socket, as the kernel says (SO_PEERCRED).
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Peer {
    uid: Option<u32>,
    gid: Option<u32>,
    pid: Option<i32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        stream.io().peer_cred().map_or_else(
            |_| Peer::default(),
            |peer| Peer { uid: Some(peer.uid()), gid: Some(peer.gid()), pid: peer.pid() },
        )
    }
}

/// A line.
#[derive(Serialize)]
struct Line<'a> {
    time: jiff::Timestamp,
    #[serde(flatten)]
    peer: Peer,
    method: &'a str,
    call: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Value>,
    status: u16,
}

/// The record.
pub(super) struct Audit {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl Audit {
    /// The record in `dir`, begun if there is none.
    pub(super) fn open(dir: &Path) -> io::Result<Audit> {
        let path = dir.join(NAME);
        let file = Mutex::new(Some(append_to(&path)?));
        Ok(Audit { path, file })
    }

    /// Appends a line; the change it tells of has been made, so a fault here is told in the log only.
    fn write(&self, line: &Line<'_>) {
        let mut text = serde_json::to_vec(line).expect("a line has string keys");
        text.push(b'\n');
        let mut file = self.file.lock().expect("no holder of the file panics");
        if let Err(e) = self.append(&mut file, &text) {
            tracing::error!(path = %self.path.display(), "the audit record is not written: {e}");
        }
    }

    fn append(&self, slot: &mut Option<File>, text: &[u8]) -> io::Result<()> {
        let full = match &slot {
            Some(file) => file.metadata()?.len() >= FULL,
            None => false,
        };
        if full {
            *slot = None;
            for n in (1..KEPT).rev() {
                move_if_there(&self.numbered(n), &self.numbered(n + 1))?;
            }
            move_if_there(&self.path, &self.numbered(1))?;
        }
        let file = match slot {
            Some(file) => file,
            None => slot.insert(append_to(&self.path)?),
        };
        file.write_all(text)
    }

    fn numbered(&self, n: usize) -> PathBuf {
        self.path.with_file_name(format!("{NAME}.{n}"))
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn move_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Records each call that may change something, with its outcome.
pub(super) async fn record(
    State(audit): State<Arc<Audit>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() == Method::GET {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let (method, call) = (parts.method.clone(), parts.uri.to_string());
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return axum::http::StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let content = if body.len() <= CONTENT_MAX { serde_json::from_slice(&body).ok() } else { None };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    audit.write(&Line {
        time: jiff::Timestamp::now(),
        peer,
        method: method.as_str(),
        call: &call,
        content: content.map(without_secrets),
        status: response.status().as_u16(),
    });
    response
}

/// The same, with nothing behind any key that speaks of a secret.
fn without_secrets(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(key, _)| !key.to_ascii_lowercase().contains("secret"))
                .map(|(key, value)| (key, without_secrets(value)))
                .collect(),
        ),
        Value::Array(values) => Value::Array(values.into_iter().map(without_secrets).collect()),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(call: &str) -> Line<'_> {
        let (time, peer) = (jiff::Timestamp::UNIX_EPOCH, Peer::default());
        Line { time, peer, method: "POST", call, content: None, status: 200 }
    }

    #[test]
    fn a_secret_is_left_out_wherever_it_stands() {
        let text = r#"{"name":"h","chap":{"user":"u","secret":"s3cret"},"more":[{"newSecret":"x"}]}"#;
        let value = without_secrets(serde_json::from_str(text).unwrap()).to_string();
        assert_eq!(value, r#"{"chap":{"user":"u"},"more":[{}],"name":"h"}"#);
    }

    #[test]
    fn a_full_file_is_put_aside_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(dir.path()).unwrap();
        for round in 0..KEPT + 2 {
            audit.write(&line(&format!("/round/{round}")));
            let file = OpenOptions::new().write(true).open(dir.path().join(NAME)).unwrap();
            file.set_len(FULL).unwrap();
        }
        audit.write(&line("/last"));
        let last = fs::read_to_string(dir.path().join(NAME)).unwrap();
        assert!(last.starts_with(r#"{"time":"1970-01-01T00:00:00Z""#) && last.contains("/last"), "{last}");
        let files = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(files, KEPT + 1);
    }
}
