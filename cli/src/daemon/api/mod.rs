//! The daemon's side of the API (see `crate::api`): each call is one call of the catalogue.
//!
//! Invariant: a change goes on to its end although its caller hung up; so each runs in a task of its own.

mod hosts;
mod pools;
mod shares;
mod volumes;

use super::audit::{Audit, Peer};
use super::nas::Nas;
use super::target::San;
use crate::api::{Fault, PortalView, Status};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use volume_manager::Manager;

/// Most bytes of a request.
pub(super) const BODY_MAX: usize = 1 << 20;

/// What every call has at hand.
pub(super) struct App {
    pub manager: Arc<Manager>,
    pub san: Arc<San>,
    pub nas: Arc<Nas>,
    pub started: Instant,
}

type Cx = State<Arc<App>>;
type Answer<T> = Result<Json<T>, Refusal>;

/// Serves the API until `stopped`'s other end is dropped.
pub(super) async fn serve(
    listener: UnixListener,
    app: Arc<App>,
    audit: Arc<Audit>,
    stopped: oneshot::Receiver<()>,
) {
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/pools", get(pools::list).post(pools::create))
        .route("/v1/pools/{pool}", get(pools::show).delete(pools::delete))
        .route("/v1/pools/{pool}/devices", post(pools::add_device).patch(pools::grow_device))
        .route("/v1/pools/{pool}/scrub", post(pools::scrub).patch(pools::pause_scrub))
        .route("/v1/volumes", get(volumes::list).post(volumes::create))
        .route(
            "/v1/volumes/{pool}/{volume}",
            get(volumes::show).patch(volumes::change).delete(volumes::delete),
        )
        .route("/v1/snapshots", get(volumes::list_snapshots).post(volumes::create_snapshots))
        .route("/v1/snapshots/{pool}/{volume}/{snapshot}", delete(volumes::delete_snapshot))
        .route("/v1/snapshots/{pool}/{volume}/{snapshot}/rollback", post(volumes::rollback))
        .route("/v1/snapshots/{pool}/{volume}/{snapshot}/clone", post(volumes::clone_snapshot))
        .route("/v1/snapshots/{pool}/{volume}/{snapshot}/diff", get(volumes::diff))
        .route("/v1/hosts", get(hosts::list).post(hosts::create))
        .route("/v1/hosts/{host}", get(hosts::show).delete(hosts::delete))
        .route("/v1/luns", get(hosts::list_luns).post(hosts::map))
        .route("/v1/luns/{host}/{pool}/{volume}", delete(hosts::unmap))
        .route("/v1/shares", get(shares::list).post(shares::create))
        .route("/v1/shares/{pool}/{share}", get(shares::show).patch(shares::change).delete(shares::delete))
        .route("/v1/files", post(shares::clone_file))
        .route("/v1/exports", get(shares::list_exports).post(shares::add_export))
        .route("/v1/exports/{pool}/{share}", delete(shares::remove_export))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "not-found", "there is no such call") })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(audit, super::audit::record))
        .with_state(app)
        .into_make_service_with_connect_info::<Peer>();
    let until = async { drop(stopped.await) };
    if let Err(e) = axum::serve(listener, router).with_graceful_shutdown(until).await {
        tracing::error!("the API ended: {e}");
    }
}

async fn status(State(app): Cx) -> Json<Status> {
    let manager = &app.manager;
    let pools = manager.list_pools();
    let mut attention: Vec<String> = pools
        .iter()
        .filter(|pool| pool.health != "online")
        .map(|pool| format!("pool {}: {}", pool.name, pool.health))
        .collect();
    let open = manager.unprotected_hosts();
    attention.extend(open.iter().map(|name| {
        format!(
            "host {name} is unprotected: whoever knows its initiator's name is it; give it CHAP or a network"
        )
    }));
    let unsafe_devices = pools.iter().flat_map(|pool| pool.devices.iter().filter(|d| d.size > 0));
    attention.extend(
        unsafe_devices
            .filter(|device| !device.survives_power_loss)
            .map(|device| format!("{} does not survive a loss of power", device.path.display())),
    );
    let portals = app.san.portals().iter().map(|(id, address)| PortalView { id: *id, address: *address });
    Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: app.started.elapsed().as_secs(),
        target: app.san.target_name().into(),
        portals: portals.collect(),
        sessions: app.san.session_count(),
        nfs: app.nas.nfs().to_vec(),
        mount: app.nas.mount().to_vec(),
        shares: manager.list_shares(None).len(),
        volumes: manager.list_volumes(None).len(),
        hosts: manager.list_hosts().len(),
        pools,
        attention,
    })
}

/// Runs a change to its end, whatever becomes of its caller.
async fn finish<T: Send + 'static>(
    change: impl Future<Output = Result<T, volume_manager::Error>> + Send + 'static,
) -> Answer<T> {
    match tokio::spawn(change).await {
        Ok(result) => Ok(Json(result?)),
        Err(e) => {
            tracing::error!("a change ended abruptly: {e}");
            Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the daemon failed: see its log"))
        }
    }
}

/// Why a call is refused, as HTTP.
struct Refusal(StatusCode, Fault);

impl Refusal {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Refusal {
        Refusal(status, Fault { code: code.into(), message: message.into() })
    }
}

impl From<volume_manager::Error> for Refusal {
    fn from(error: volume_manager::Error) -> Refusal {
        let status = match error.code() {
            "not-found" => StatusCode::NOT_FOUND,
            "exists" | "in-use" => StatusCode::CONFLICT,
            "invalid" | "device" => StatusCode::BAD_REQUEST,
            "pool-failed" => StatusCode::SERVICE_UNAVAILABLE,
            "no-space" => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal::new(status, error.code(), error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

/// A request's JSON.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Refusal> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Body(value)),
            // The text of the error may quote the request, which may hold a secret.
            Err(JsonRejection::JsonDataError(_)) => {
                Err(malformed("a field is missing, unknown or impossible"))
            }
            Err(rejection) => Err(malformed(&rejection.status().to_string())),
        }
    }
}

/// A request's query.
struct Query<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Refusal> {
        let query: Result<axum::extract::Query<T>, QueryRejection> =
            axum::extract::Query::from_request_parts(parts, state).await;
        query.map(|query| Query(query.0)).map_err(|e| malformed(&e.body_text()))
    }
}

fn malformed(why: &str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "invalid", format!("the request makes no sense: {why}"))
}
