//! `ashlar host` and `ashlar lun`.

use super::{Context, Outcome};
use crate::api::{Done, HostCreate, Login, LunAnswer};
use crate::args::{HostArgs, HostCommand, LunCommand};
use crate::output::{confirm, facts, list, table};
use std::error::Error;
use std::io::Read;
use std::path::Path;
use volume_manager::manager::{HostRequest, MapRequest};
use volume_manager::state::Initiators;
use volume_manager::view::{HostView, LunView, Outcome as Warned};
use zeroize::Zeroizing;

pub(super) fn run(cx: &Context, command: HostCommand) -> Outcome {
    match command {
        HostCommand::Create(args) => {
            let made: Warned<HostView> = cx.client.post("/v1/hosts", &host_request(args)?)?;
            cx.out.warn(&made.warnings);
            Ok(cx.out.print(&made, |made| format!("host {}", made.result.name))?)
        }
        HostCommand::List => {
            let hosts: Vec<HostView> = cx.client.get("/v1/hosts")?;
            Ok(cx.out.print(&hosts, |hosts| listing(hosts))?)
        }
        HostCommand::Show { name } => {
            let host: HostView = cx.client.get(&format!("/v1/hosts/{name}"))?;
            Ok(cx.out.print(&host, show)?)
        }
        HostCommand::Delete { name, force, yes } => {
            confirm(&format!("deleting host {name}, ending its sessions"), yes)?;
            let done: Done = cx.client.delete(&format!("/v1/hosts/{name}?force={force}"))?;
            Ok(cx.out.print(&done, |_| format!("host {name} is deleted"))?)
        }
    }
}

fn host_request(args: HostArgs) -> Result<HostCreate, Box<dyn Error>> {
    let any = args.iqn.iter().any(|iqn| iqn == "any");
    let initiators = match any {
        true if args.iqn.len() == 1 => Initiators::Any,
        true => return Err("`--iqn any` stands alone: it is every initiator already".into()),
        false => Initiators::Named(args.iqn.iter().map(|iqn| iqn.parse()).collect::<Result<_, _>>()?),
    };
    let login = |user: Option<String>, file: Option<&Path>| -> Result<Option<Login>, Box<dyn Error>> {
        match (user, file) {
            (Some(user), Some(file)) => Ok(Some(Login { user, secret: read_secret(file)? })),
            _ => Ok(None),
        }
    };
    Ok(HostCreate {
        chap: login(args.chap_user, args.chap_secret_file.as_deref())?,
        mutual: login(args.mutual_user, args.mutual_secret_file.as_deref())?,
        host: HostRequest {
            name: args.name,
            initiators,
            os: args.os.into(),
            networks: args.network,
            portals: args.portal,
        },
    })
}

/// The content of a file of one line.
fn read_secret(path: &Path) -> Result<String, Box<dyn Error>> {
    let mut text = Zeroizing::new(String::new());
    let read = match path == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|e| format!("{}: {e}: name a file that holds the secret", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn initiators(host: &HostView) -> String {
    match &host.initiators {
        Initiators::Any => "any".into(),
        Initiators::Named(names) => list(names.iter().map(ToString::to_string), "none"),
    }
}

fn listing(hosts: &[HostView]) -> String {
    let row = |host: &HostView| {
        vec![
            host.name.to_string(),
            format!("{:?}", host.os).to_lowercase(),
            host.chap.clone(),
            list(host.networks.iter().map(ToString::to_string), "any"),
            host.luns.len().to_string(),
            initiators(host),
        ]
    };
    table(&["HOST", "OS", "CHAP", "NETWORKS", ">LUNS", "INITIATORS"], hosts.iter().map(row))
}

fn show(host: &HostView) -> String {
    let head = facts(&[
        ("Host", host.name.to_string()),
        ("Initiators", initiators(host)),
        ("OS", format!("{:?}", host.os).to_lowercase()),
        ("CHAP", host.chap.clone()),
        ("Networks", list(host.networks.iter().map(ToString::to_string), "any")),
        ("Portals", list(host.portals.iter().map(ToString::to_string), "all")),
    ]);
    format!("{head}\n{}", lun_listing(&host.luns))
}

pub(super) fn run_lun(cx: &Context, command: LunCommand) -> Outcome {
    match command {
        LunCommand::Map { volume, host, lun, read_only } => {
            let request = MapRequest { volume, host, lun, read_only };
            let mapped: Warned<LunAnswer> = cx.client.post("/v1/luns", &request)?;
            cx.out.warn(&mapped.warnings);
            Ok(cx.out.print(&mapped, |mapped| {
                let answer = &mapped.result;
                facts(&[
                    ("Target", answer.target.clone()),
                    ("LUN", answer.view.lun.to_string()),
                    (
                        "Portals",
                        list(answer.portals.iter().cloned(), "none: iSCSI is off, see --iscsi-listen"),
                    ),
                    ("Serial", answer.view.serial.clone()),
                ])
            })?)
        }
        LunCommand::Unmap { volume, host, yes } => {
            confirm(&format!("taking {volume} away from host {host}, ending its I/O"), yes)?;
            let done: Done = cx.client.delete(&format!("/v1/luns/{host}/{volume}"))?;
            Ok(cx.out.print(&done, |_| format!("host {host} does not see {volume} any more"))?)
        }
        LunCommand::List { host } => {
            let filter = host.map_or_else(String::new, |host| format!("?host={host}"));
            let luns: Vec<LunView> = cx.client.get(&format!("/v1/luns{filter}"))?;
            Ok(cx.out.print(&luns, |luns| lun_listing(luns))?)
        }
    }
}

fn lun_listing(luns: &[LunView]) -> String {
    let row = |lun: &LunView| {
        vec![
            lun.host.to_string(),
            lun.lun.to_string(),
            lun.volume.as_ref().map_or_else(|| "(pool not available)".into(), ToString::to_string),
            if lun.read_only { "read-only" } else { "read-write" }.into(),
            lun.serial.clone(),
        ]
    };
    table(&["HOST", ">LUN", "VOLUME", "ACCESS", "SERIAL"], luns.iter().map(row))
}
