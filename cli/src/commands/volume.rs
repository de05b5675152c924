//! `ashlar volume`, `ashlar snapshot`, `ashlar clone`.

use super::{Context, Outcome};
use crate::api::{CloneTo, Diff, Done, Rollback, SnapshotCreate, VolumeChange};
use crate::args::{CloneArgs, SnapshotCommand, VolumeCommand};
use crate::output::{confirm, facts, list, size, table};
use volume_manager::manager::{Made, VolumeRequest};
use volume_manager::view::{SnapshotView, VolumeView};
use volume_manager::{SnapshotPath, VolumePath};

pub(super) fn run(cx: &Context, command: VolumeCommand) -> Outcome {
    let change = |path: &VolumePath, change: &VolumeChange| -> Result<VolumeView, _> {
        cx.client.patch(&format!("/v1/volumes/{path}"), change)
    };
    let view = match command {
        VolumeCommand::Create { path, size, block_size, write_cache } => {
            let write_cache = write_cache.into();
            let request = VolumeRequest { path, size: size.0, block_bytes: block_size, write_cache };
            cx.client.post("/v1/volumes", &request)?
        }
        VolumeCommand::List { pool } => {
            let filter = pool.map_or_else(String::new, |pool| format!("?pool={pool}"));
            let volumes: Vec<VolumeView> = cx.client.get(&format!("/v1/volumes{filter}"))?;
            return Ok(cx.out.print(&volumes, |volumes| listing(volumes))?);
        }
        VolumeCommand::Show { path } => {
            let view: VolumeView = cx.client.get(&format!("/v1/volumes/{path}"))?;
            return Ok(cx.out.print(&view, show)?);
        }
        VolumeCommand::Resize { path, size: to, danger } => {
            let now: VolumeView = cx.client.get(&format!("/v1/volumes/{path}"))?;
            if to.0 < now.size {
                confirm(
                    &format!("shrinking {path} from {} to {to}, cutting off its end", size(now.size)),
                    danger.yes,
                )?;
            }
            change(&path, &VolumeChange { size: Some(to.0), force: danger.force, ..VolumeChange::default() })?
        }
        VolumeCommand::Rename { path, to } => {
            change(&path, &VolumeChange { name: Some(to), ..VolumeChange::default() })?
        }
        VolumeCommand::Delete { path, snapshots, danger } => {
            confirm(&format!("deleting volume {path}"), danger.yes)?;
            let query = format!("?snapshots={snapshots}&force={}", danger.force);
            let done: Done = cx.client.delete(&format!("/v1/volumes/{path}{query}"))?;
            return Ok(cx.out.print(&done, |_| format!("volume {path} is deleted"))?);
        }
    };
    Ok(cx.out.print(&view, |view| format!("volume {}: {}", view.path, size(view.size)))?)
}

pub(super) fn run_clone(cx: &Context, clone: &CloneArgs) -> Outcome {
    let to = CloneTo { to: clone.to.clone() };
    let made: Made = cx.client.post(&format!("{}/clone", snapshot_url(&clone.snapshot)), &to)?;
    Ok(cx.out.print(&made, |made| match made {
        Made::Volume(view) => format!("volume {}: {}", view.path, size(view.size)),
        Made::Share(view) => format!("share {}: {}", view.path, size(view.referenced)),
    })?)
}

pub(super) fn run_snapshot(cx: &Context, command: SnapshotCommand) -> Outcome {
    match command {
        SnapshotCommand::Create { paths } => {
            let create = SnapshotCreate { snapshots: paths };
            let views: Vec<SnapshotView> = cx.client.post("/v1/snapshots", &create)?;
            Ok(cx.out.print(&views, |views| {
                views.iter().map(|view| format!("snapshot {}\n", view.path)).collect()
            })?)
        }
        SnapshotCommand::List { volume } => {
            let filter = volume.map_or_else(String::new, |volume| format!("?volume={volume}"));
            let views: Vec<SnapshotView> = cx.client.get(&format!("/v1/snapshots{filter}"))?;
            Ok(cx.out.print(&views, |views| snapshot_listing(views))?)
        }
        SnapshotCommand::Delete { path, yes } => {
            confirm(&format!("deleting snapshot {path}"), yes)?;
            let done: Done = cx.client.delete(&snapshot_url(&path))?;
            Ok(cx.out.print(&done, |_| format!("snapshot {path} is deleted"))?)
        }
        SnapshotCommand::Rollback { path, danger } => {
            confirm(&format!("rolling {} back, losing what was written since", path.volume), danger.yes)?;
            let rollback = Rollback { force: danger.force };
            let made: Made = cx.client.post(&format!("{}/rollback", snapshot_url(&path)), &rollback)?;
            Ok(cx.out.print(&made, |_| format!("{} is what {path} was", path.volume))?)
        }
        SnapshotCommand::Diff { from, to } => diff(cx, &from, to),
    }
}

fn diff(cx: &Context, from: &SnapshotPath, to: Option<volume_manager::Name>) -> Outcome {
    let to = to.map_or_else(String::new, |name| format!("&to={name}"));
    let mut ranges = Vec::new();
    let mut next = Some(0);
    while let Some(start) = next {
        let some: Diff = cx.client.get(&format!("{}/diff?start={start}{to}", snapshot_url(from)))?;
        ranges.extend(some.ranges);
        next = some.next;
    }
    Ok(cx.out.print(&ranges, |ranges| {
        let rows = ranges.iter().map(|r| vec![r.offset.to_string(), r.length.to_string()]);
        table(&[">OFFSET", ">LENGTH"], rows)
    })?)
}

fn snapshot_url(path: &SnapshotPath) -> String {
    format!("/v1/snapshots/{}/{}", path.volume, path.snapshot)
}

fn listing(volumes: &[VolumeView]) -> String {
    let row = |volume: &VolumeView| {
        vec![
            volume.path.to_string(),
            size(volume.size),
            size(volume.referenced),
            size(volume.unique),
            volume.snapshots.to_string(),
            list(volume.hosts.iter().map(ToString::to_string), "-"),
            volume.origin.as_ref().map_or_else(|| "-".into(), ToString::to_string),
        ]
    };
    let headers = ["VOLUME", ">SIZE", ">DATA", ">UNIQUE", ">SNAPSHOTS", "HOSTS", "ORIGIN"];
    table(&headers, volumes.iter().map(row))
}

fn show(volume: &VolumeView) -> String {
    facts(&[
        ("Volume", volume.path.to_string()),
        ("Size", size(volume.size)),
        ("Data", size(volume.referenced)),
        ("Unique", size(volume.unique)),
        ("Snapshots", volume.snapshots.to_string()),
        ("Origin", volume.origin.as_ref().map_or_else(|| "none".into(), ToString::to_string)),
        ("Hosts", list(volume.hosts.iter().map(ToString::to_string), "none")),
        ("Block size", volume.block_bytes.to_string()),
        ("Write cache", format!("{:?}", volume.write_cache).to_lowercase()),
        ("Serial", volume.serial.clone()),
        ("NAA", volume.naa.clone()),
    ])
}

fn snapshot_listing(snapshots: &[SnapshotView]) -> String {
    let row = |snapshot: &SnapshotView| {
        vec![
            snapshot.path.to_string(),
            size(snapshot.size),
            size(snapshot.referenced),
            size(snapshot.unique),
            snapshot.clones.to_string(),
        ]
    };
    table(&["SNAPSHOT", ">SIZE", ">DATA", ">FREES", ">CLONES"], snapshots.iter().map(row))
}
