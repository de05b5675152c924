//! Calls about shares and exports.

use super::super::reach::reachable;
use super::{finish, Answer, Body, Cx, Query};
use crate::api::{
    Deletion, Done, ExportAnswer, ExportFilter, FileClone, FileCloned, Filter, ShareChange, ShareCreate,
};
use axum::extract::{Path, State};
use axum::Json;
use std::net::SocketAddr;
use volume_manager::manager::ExportRequest;
use volume_manager::state::Clients;
use volume_manager::view::{ExportView, Outcome, ShareView};
use volume_manager::{Name, VolumePath};

type ShareParts = Path<(Name, Name)>;

fn path((pool, volume): (Name, Name)) -> VolumePath {
    VolumePath { pool, volume }
}

pub(super) async fn list(State(app): Cx, Query(filter): Query<Filter>) -> Answer<Vec<ShareView>> {
    if let Some(pool) = &filter.pool {
        app.manager.show_pool(pool)?;
    }
    Ok(Json(app.manager.list_shares(filter.pool.as_ref())))
}

pub(super) async fn show(State(app): Cx, Path(parts): ShareParts) -> Answer<ShareView> {
    Ok(Json(app.manager.show_share(&path(parts))?))
}

pub(super) async fn create(State(app): Cx, Body(create): Body<ShareCreate>) -> Answer<ShareView> {
    finish(async move { app.manager.create_share(&create.path, &create.settings).await }).await
}

pub(super) async fn change(
    State(app): Cx,
    Path(parts): ShareParts,
    Body(change): Body<ShareChange>,
) -> Answer<ShareView> {
    let path = path(parts);
    finish(async move {
        let view = app.manager.set_share(&path, &change.settings).await?;
        match &change.name {
            Some(name) => app.manager.rename_share(&path, name).await,
            None => Ok(view),
        }
    })
    .await
}

pub(super) async fn delete(
    State(app): Cx,
    Path(parts): ShareParts,
    Query(how): Query<Deletion>,
) -> Answer<Done> {
    let path = path(parts);
    let delete =
        async move { app.manager.delete_share(&path, how.snapshots, how.force).await.map(|()| Done {}) };
    finish(delete).await
}

pub(super) async fn clone_file(State(app): Cx, Body(clone): Body<FileClone>) -> Answer<FileCloned> {
    finish(async move {
        let size = app.manager.clone_file(&clone.from, &clone.to).await?;
        Ok(FileCloned { to: clone.to, size })
    })
    .await
}

pub(super) async fn list_exports(
    State(app): Cx,
    Query(filter): Query<ExportFilter>,
) -> Answer<Vec<ExportView>> {
    if let Some(share) = &filter.share {
        app.manager.show_share(share)?;
    }
    Ok(Json(app.manager.list_exports(filter.share.as_ref())))
}

pub(super) async fn add_export(
    State(app): Cx,
    Body(request): Body<ExportRequest>,
) -> Answer<Outcome<ExportAnswer>> {
    finish(async move {
        let view = app.manager.add_export(&request).await?;
        let mut warnings = Vec::new();
        if app.nas.nfs().is_empty() {
            warnings.push("NFS is off: start the daemon with --nfs-listen ADDR:PORT".to_owned());
        }
        if view.clients == Clients::Any {
            warnings.push("anyone who reaches the server can mount this share".to_owned());
        }
        let first = |listeners: &[SocketAddr]| {
            listeners.first().and_then(|listen| reachable(*listen, &[]).first().map(ToString::to_string))
        };
        let result = ExportAnswer {
            path: format!("/{}", view.share),
            nfs: first(app.nas.nfs()),
            mount: first(app.nas.mount()),
            view,
        };
        Ok(Outcome { result, warnings })
    })
    .await
}

pub(super) async fn remove_export(
    State(app): Cx,
    Path((pool, share)): Path<(Name, Name)>,
    Query(of): Query<ExportOf>,
) -> Answer<Done> {
    let share = path((pool, share));
    finish(async move { app.manager.remove_export(&share, &of.clients).await.map(|()| Done {}) }).await
}

/// Query of the removal of an export.
#[derive(serde::Deserialize)]
pub(super) struct ExportOf {
    clients: Clients,
}
