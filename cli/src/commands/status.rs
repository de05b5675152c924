//! `ashlar status`.

use super::{pool, Context, Outcome};
use crate::api::Status;
use crate::output::{facts, list};

pub(super) fn run(cx: &Context) -> Outcome {
    let status: Status = cx.client.get("/v1/status")?;
    Ok(cx.out.print(&status, show)?)
}

fn show(status: &Status) -> String {
    let portals = status.portals.iter().map(|portal| format!("{} (portal {})", portal.address, portal.id));
    let head = facts(&[
        ("Version", status.version.clone()),
        ("Up", format!("{} s", status.uptime_s)),
        ("Target", status.target.clone()),
        ("Portals", list(portals, "none: iSCSI is off")),
        ("NFS", list(status.nfs.iter().map(ToString::to_string), "off")),
        ("Sessions", status.sessions.to_string()),
        ("Volumes", status.volumes.to_string()),
        ("Shares", status.shares.to_string()),
        ("Hosts", status.hosts.to_string()),
    ]);
    let attention: String = status.attention.iter().map(|line| format!("! {line}\n")).collect();
    format!("{head}{attention}\n{}", pool::listing(&status.pools))
}
