//! `ashlar share` and `ashlar export`.

use super::{Context, Outcome};
use crate::api::{Done, ExportAnswer, FileClone, FileCloned, ShareChange, ShareCreate};
use crate::args::{ExportArgs, ExportCommand, FileCommand, Settings, ShareCommand};
use crate::output::{confirm, facts, size, table};
use volume_manager::manager::{ExportRequest, ShareSettings};
use volume_manager::view::{ExportView, Outcome as Warned, ShareView};

fn settings(settings: &Settings) -> ShareSettings {
    ShareSettings {
        quota: settings.quota.map(|size| size.0),
        snapshot_dir: settings.snapshot_dir.map(Into::into),
    }
}

pub(super) fn run(cx: &Context, command: ShareCommand) -> Outcome {
    let view: ShareView = match command {
        ShareCommand::Create { path, settings: set } => {
            cx.client.post("/v1/shares", &ShareCreate { path, settings: settings(&set) })?
        }
        ShareCommand::List { pool } => {
            let filter = pool.map_or_else(String::new, |pool| format!("?pool={pool}"));
            let shares: Vec<ShareView> = cx.client.get(&format!("/v1/shares{filter}"))?;
            return Ok(cx.out.print(&shares, |shares| listing(shares))?);
        }
        ShareCommand::Show { path } => {
            let view: ShareView = cx.client.get(&format!("/v1/shares/{path}"))?;
            return Ok(cx.out.print(&view, show)?);
        }
        ShareCommand::Set { path, settings: set } => {
            let change = ShareChange { settings: settings(&set), name: None };
            cx.client.patch(&format!("/v1/shares/{path}"), &change)?
        }
        ShareCommand::Rename { path, to } => {
            let change = ShareChange { settings: ShareSettings::default(), name: Some(to) };
            cx.client.patch(&format!("/v1/shares/{path}"), &change)?
        }
        ShareCommand::Delete { path, snapshots, force, yes } => {
            confirm(&format!("deleting share {path} and all its files"), yes)?;
            let query = format!("?snapshots={snapshots}&force={force}");
            let done: Done = cx.client.delete(&format!("/v1/shares/{path}{query}"))?;
            return Ok(cx.out.print(&done, |_| format!("share {path} is deleted"))?);
        }
    };
    Ok(cx.out.print(&view, |view| format!("share {}: {}", view.path, size(view.referenced)))?)
}

pub(super) fn run_file(cx: &Context, command: FileCommand) -> Outcome {
    let FileCommand::Clone { from, to } = command;
    let done: FileCloned = cx.client.post("/v1/files", &FileClone { from, to })?;
    Ok(cx.out.print(&done, |done| format!("{}: {}", done.to, size(done.size)))?)
}

pub(super) fn run_export(cx: &Context, command: ExportCommand) -> Outcome {
    match command {
        ExportCommand::Add(args) => {
            let made: Warned<ExportAnswer> = cx.client.post("/v1/exports", &request(args))?;
            cx.out.warn(&made.warnings);
            Ok(cx.out.print(&made, |made| {
                let answer = &made.result;
                let at = answer.nfs.as_deref().unwrap_or("no address: NFS is off");
                format!("export {} to {} (NFS at {at})", answer.path, answer.view.clients)
            })?)
        }
        ExportCommand::Remove { share, client, yes } => {
            confirm(&format!("taking {share} away from {client}"), yes)?;
            let done: Done = cx.client.delete(&format!("/v1/exports/{share}?clients={client}"))?;
            Ok(cx.out.print(&done, |_| format!("{share} is no longer exported to {client}"))?)
        }
        ExportCommand::List { share } => {
            let filter = share.map_or_else(String::new, |share| format!("?share={share}"));
            let exports: Vec<ExportView> = cx.client.get(&format!("/v1/exports{filter}"))?;
            Ok(cx.out.print(&exports, |exports| export_listing(exports))?)
        }
    }
}

fn request(args: ExportArgs) -> ExportRequest {
    ExportRequest {
        share: args.share,
        clients: args.client,
        read_only: args.read_only,
        squash: args.squash.into(),
        anonymous_uid: args.anon_uid,
        anonymous_gid: args.anon_gid,
        secure_port: args.secure_port,
    }
}

fn quota(share: &ShareView) -> String {
    match share.quota {
        0 => "-".into(),
        bytes => size(bytes),
    }
}

fn listing(shares: &[ShareView]) -> String {
    let row = |share: &ShareView| {
        vec![
            share.path.to_string(),
            size(share.referenced),
            size(share.unique),
            quota(share),
            share.snapshots.to_string(),
            share.exports.to_string(),
            share.origin.as_ref().map_or_else(|| "-".into(), ToString::to_string),
        ]
    };
    let headers = ["SHARE", ">DATA", ">UNIQUE", ">QUOTA", ">SNAPSHOTS", ">EXPORTS", "ORIGIN"];
    table(&headers, shares.iter().map(row))
}

fn show(share: &ShareView) -> String {
    facts(&[
        ("Share", share.path.to_string()),
        ("Data", size(share.referenced)),
        ("Unique", size(share.unique)),
        ("Quota", quota(share)),
        ("Snapshots", share.snapshots.to_string()),
        ("Snapshot directory", format!("{:?}", share.snapshot_dir).to_lowercase()),
        ("Origin", share.origin.as_ref().map_or_else(|| "none".into(), ToString::to_string)),
        ("Exports", share.exports.to_string()),
        ("File system", share.fsid.clone()),
    ])
}

fn export_listing(exports: &[ExportView]) -> String {
    let row = |export: &ExportView| {
        vec![
            export.share.to_string(),
            export.clients.to_string(),
            if export.read_only { "read" } else { "read-write" }.into(),
            format!("{:?}", export.squash).to_lowercase(),
            format!("{}:{}", export.anonymous_uid, export.anonymous_gid),
            if export.secure_port { "below 1024" } else { "any" }.into(),
        ]
    };
    table(&["SHARE", "CLIENTS", "ACCESS", "SQUASH", "ANONYMOUS", "PORT"], exports.iter().map(row))
}
