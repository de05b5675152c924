//! Calls about pools.

use super::{finish, Answer, Body, Cx, Query};
use crate::api::{Deletion, DeviceAdd, Done, PoolCreate, ScrubChange, ScrubStart};
use axum::extract::{Path, State};
use axum::Json;
use volume_manager::manager::DeviceRequest;
use volume_manager::view::PoolView;
use volume_manager::Name;

pub(super) async fn list(State(app): Cx) -> Json<Vec<PoolView>> {
    Json(app.manager.list_pools())
}

pub(super) async fn show(State(app): Cx, Path(pool): Path<Name>) -> Answer<PoolView> {
    Ok(Json(app.manager.show_pool(&pool)?))
}

pub(super) async fn create(State(app): Cx, Body(create): Body<PoolCreate>) -> Answer<PoolView> {
    finish(async move { app.manager.create_pool(create.name, &create.devices, create.force).await }).await
}

pub(super) async fn add_device(
    State(app): Cx,
    Path(pool): Path<Name>,
    Body(add): Body<DeviceAdd>,
) -> Answer<PoolView> {
    finish(async move { app.manager.add_device(&pool, &add.device, add.force).await }).await
}

pub(super) async fn grow_device(
    State(app): Cx,
    Path(pool): Path<Name>,
    Body(device): Body<DeviceRequest>,
) -> Answer<PoolView> {
    finish(async move { app.manager.grow_device(&pool, &device).await }).await
}

pub(super) async fn pause_scrub(
    State(app): Cx,
    Path(pool): Path<Name>,
    Body(change): Body<ScrubChange>,
) -> Answer<Done> {
    app.manager.pause_scrub(&pool, change.paused)?;
    Ok(Json(Done {}))
}

pub(super) async fn scrub(
    State(app): Cx,
    Path(pool): Path<Name>,
    Body(start): Body<ScrubStart>,
) -> Answer<Done> {
    app.manager.scrub_pool(&pool, start.bytes_per_second)?;
    Ok(Json(Done {}))
}

pub(super) async fn delete(
    State(app): Cx,
    Path(pool): Path<Name>,
    Query(how): Query<Deletion>,
) -> Answer<Done> {
    finish(async move { app.manager.delete_pool(&pool, how.force).await.map(|()| Done {}) }).await
}
