//! A call over the daemon's socket.

use crate::api::Fault;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// Most bytes of an answer: the longest listing has some ten thousand rows.
const ANSWER_MAX: usize = 256 << 20;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The daemon is not there.
    #[error(
        "no daemon answers at {}: {source}: start it with `ashlar serve`, or name its socket with --socket",
        socket.display()
    )]
    NoDaemon { socket: PathBuf, source: std::io::Error },
    /// The daemon refused.
    #[error("{0}")]
    Refused(Fault),
    /// It broke off.
    #[error("the daemon broke the call off: {0}: see its log")]
    Broken(String),
}

/// The daemon, as a client sees it.
pub(crate) struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> std::io::Result<Client> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Client { socket: socket.to_owned(), runtime })
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::GET, path, None::<&()>)
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(Method::POST, path, Some(body))
    }

    pub(crate) fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        self.call(Method::PATCH, path, Some(body))
    }

    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.call(Method::DELETE, path, None::<&()>)
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, CallError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|e| CallError::Broken(e.to_string()))?;
        let (status, answer) = self.runtime.block_on(self.exchange(method, path, body))?;
        let broken = |e: serde_json::Error| CallError::Broken(format!("its answer makes no sense ({e})"));
        match status.is_success() {
            true => serde_json::from_slice(&answer).map_err(broken),
            false => Err(match serde_json::from_slice(&answer) {
                Ok(fault) => CallError::Refused(fault),
                Err(_) => CallError::Broken(format!("{status}")),
            }),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(hyper::StatusCode, Bytes), CallError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| CallError::NoDaemon { socket: self.socket.clone(), source })?;
        let broken = |e: hyper::Error| CallError::Broken(e.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "ashlar")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|e| CallError::Broken(e.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|e| CallError::Broken(e.to_string()))?;
        Ok((status, body.to_bytes()))
    }
}
