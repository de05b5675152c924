//! Calls about hosts and what they were given.

use super::{finish, Answer, Body, Cx, Query};
use crate::api::{Deletion, Done, Filter, HostCreate, Login, LunAnswer};
use axum::extract::{Path, State};
use axum::Json;
use volume_manager::manager::{ChapRequest, MapRequest};
use volume_manager::view::{HostView, LunView, Outcome};
use volume_manager::{Error, Name, Secret, VolumePath};

pub(super) async fn list(State(app): Cx) -> Json<Vec<HostView>> {
    Json(app.manager.list_hosts())
}

pub(super) async fn show(State(app): Cx, Path(host): Path<Name>) -> Answer<HostView> {
    Ok(Json(app.manager.show_host(&host)?))
}

pub(super) async fn create(State(app): Cx, Body(create): Body<HostCreate>) -> Answer<Outcome<HostView>> {
    let HostCreate { host, chap, mutual } = create;
    let chap = chap.map(|one_way| chap_request(&one_way, mutual.as_ref())).transpose()?;
    finish(async move { app.manager.create_host(host, chap).await }).await
}

fn chap_request(one_way: &Login, mutual: Option<&Login>) -> Result<ChapRequest, Error> {
    let secret = |login: &Login| {
        Secret::new(login.secret.clone().into_bytes()).map_err(|e| Error::Invalid {
            what: format!("the secret of user {} has the wrong length", login.user),
            remedy: e.to_string(),
        })
    };
    let mutual = mutual.map(|login| Ok::<_, Error>((login.user.clone(), secret(login)?))).transpose()?;
    Ok(ChapRequest { user: one_way.user.clone(), secret: secret(one_way)?, mutual })
}

pub(super) async fn delete(
    State(app): Cx,
    Path(host): Path<Name>,
    Query(how): Query<Deletion>,
) -> Answer<Done> {
    finish(async move { app.manager.delete_host(&host, how.force).await.map(|()| Done {}) }).await
}

pub(super) async fn list_luns(State(app): Cx, Query(filter): Query<Filter>) -> Answer<Vec<LunView>> {
    Ok(Json(app.manager.list_luns(filter.host.as_ref())?))
}

pub(super) async fn map(State(app): Cx, Body(request): Body<MapRequest>) -> Answer<Outcome<LunAnswer>> {
    finish(async move {
        let mapped = app.manager.map(&request).await?;
        let portals = app.manager.show_host(&request.host)?.portals;
        let result = LunAnswer {
            target: app.san.target_name().to_owned(),
            portals: app.san.reachable_portals(&portals).iter().map(ToString::to_string).collect(),
            view: mapped.result,
        };
        Ok(Outcome { result, warnings: mapped.warnings })
    })
    .await
}

pub(super) async fn unmap(
    State(app): Cx,
    Path((host, pool, volume)): Path<(Name, Name, Name)>,
) -> Answer<Done> {
    let path = VolumePath { pool, volume };
    finish(async move { app.manager.unmap(&path, &host).await.map(|()| Done {}) }).await
}
