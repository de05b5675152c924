//! Calls about volumes and snapshots.

use super::{finish, Answer, Body, Cx, Query};
use crate::api::{CloneTo, Deletion, Diff, DiffQuery, Done, Filter, Rollback, SnapshotCreate, VolumeChange};
use axum::extract::{Path, State};
use axum::Json;
use volume_manager::manager::{Made, VolumeRequest};
use volume_manager::view::{SnapshotView, VolumeView};
use volume_manager::{Name, SnapshotPath, VolumePath};

type VolumeParts = Path<(Name, Name)>;
type SnapshotParts = Path<(Name, Name, Name)>;

fn volume((pool, volume): (Name, Name)) -> VolumePath {
    VolumePath { pool, volume }
}

fn snapshot((pool, volume, snapshot): (Name, Name, Name)) -> SnapshotPath {
    SnapshotPath { volume: VolumePath { pool, volume }, snapshot }
}

pub(super) async fn list(State(app): Cx, Query(filter): Query<Filter>) -> Answer<Vec<VolumeView>> {
    if let Some(pool) = &filter.pool {
        app.manager.show_pool(pool)?;
    }
    Ok(Json(app.manager.list_volumes(filter.pool.as_ref())))
}

pub(super) async fn show(State(app): Cx, Path(parts): VolumeParts) -> Answer<VolumeView> {
    Ok(Json(app.manager.show_volume(&volume(parts))?))
}

pub(super) async fn create(State(app): Cx, Body(request): Body<VolumeRequest>) -> Answer<VolumeView> {
    finish(async move { app.manager.create_volume(&request).await }).await
}

pub(super) async fn change(
    State(app): Cx,
    Path(parts): VolumeParts,
    Body(change): Body<VolumeChange>,
) -> Answer<VolumeView> {
    let path = volume(parts);
    finish(async move {
        let mut view = app.manager.show_volume(&path)?;
        if let Some(size) = change.size {
            view = app.manager.resize_volume(&path, size, change.force).await?;
        }
        if let Some(name) = &change.name {
            view = app.manager.rename_volume(&path, name).await?;
        }
        Ok(view)
    })
    .await
}

pub(super) async fn delete(
    State(app): Cx,
    Path(parts): VolumeParts,
    Query(how): Query<Deletion>,
) -> Answer<Done> {
    let path = volume(parts);
    let delete =
        async move { app.manager.delete_volume(&path, how.snapshots, how.force).await.map(|()| Done {}) };
    finish(delete).await
}

pub(super) async fn list_snapshots(
    State(app): Cx,
    Query(filter): Query<Filter>,
) -> Answer<Vec<SnapshotView>> {
    Ok(Json(app.manager.list_snapshots(filter.volume.as_ref())?))
}

pub(super) async fn create_snapshots(
    State(app): Cx,
    Body(create): Body<SnapshotCreate>,
) -> Answer<Vec<SnapshotView>> {
    finish(async move { app.manager.create_snapshots(&create.snapshots).await }).await
}

pub(super) async fn delete_snapshot(State(app): Cx, Path(parts): SnapshotParts) -> Answer<Done> {
    let path = snapshot(parts);
    finish(async move { app.manager.delete_snapshot(&path).await.map(|()| Done {}) }).await
}

pub(super) async fn rollback(
    State(app): Cx,
    Path(parts): SnapshotParts,
    Body(how): Body<Rollback>,
) -> Answer<Made> {
    let path = snapshot(parts);
    finish(async move { app.manager.rollback(&path, how.force).await }).await
}

pub(super) async fn clone_snapshot(
    State(app): Cx,
    Path(parts): SnapshotParts,
    Body(clone): Body<CloneTo>,
) -> Answer<Made> {
    let path = snapshot(parts);
    finish(async move { app.manager.clone_snapshot(&path, &clone.to).await }).await
}

pub(super) async fn diff(
    State(app): Cx,
    Path(parts): SnapshotParts,
    Query(query): Query<DiffQuery>,
) -> Answer<Diff> {
    let (ranges, next) = app.manager.diff(&snapshot(parts), query.to.as_ref(), query.start).await?;
    Ok(Json(Diff { ranges, next }))
}
