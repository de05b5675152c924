//! `ashlar pool`.

use super::{Context, Outcome};
use crate::api::{DeviceAdd, Done, PoolCreate, ScrubChange, ScrubStart};
use crate::args::PoolCommand;
use crate::output::{confirm, facts, list, size, table};
use volume_manager::view::{DamagedView, PoolView, ScrubView};

pub(super) fn run(cx: &Context, command: PoolCommand) -> Outcome {
    match command {
        PoolCommand::Create { name, devices } => {
            let force = devices.force;
            let devices = devices.devices.into_iter().map(|device| device.0).collect();
            let view: PoolView = cx.client.post("/v1/pools", &PoolCreate { name, devices, force })?;
            Ok(cx.out.print(&view, |view| format!("pool {}: {} free", view.name, size(view.free)))?)
        }
        PoolCommand::List => {
            let pools: Vec<PoolView> = cx.client.get("/v1/pools")?;
            Ok(cx.out.print(&pools, |pools| listing(pools))?)
        }
        PoolCommand::Show { name } => {
            let view: PoolView = cx.client.get(&format!("/v1/pools/{name}"))?;
            Ok(cx.out.print(&view, show)?)
        }
        PoolCommand::AddDevice { name, devices } => {
            let mut last: Option<PoolView> = None;
            for device in devices.devices {
                let add = DeviceAdd { device: device.0, force: devices.force };
                last = Some(cx.client.post(&format!("/v1/pools/{name}/devices"), &add)?);
            }
            let Some(view) = last else { return Ok(()) };
            Ok(cx.out.print(&view, |view| format!("pool {}: {} free", view.name, size(view.free)))?)
        }
        PoolCommand::GrowDevice { name, device } => {
            let view: PoolView = cx.client.patch(&format!("/v1/pools/{name}/devices"), &device.0)?;
            Ok(cx.out.print(&view, |view| format!("pool {}: {} free", view.name, size(view.free)))?)
        }
        PoolCommand::Scrub { name, pause, resume, .. } if pause || resume => {
            let change = ScrubChange { paused: pause };
            let done: Done = cx.client.patch(&format!("/v1/pools/{name}/scrub"), &change)?;
            let state = if pause { "held" } else { "running" };
            Ok(cx.out.print(&done, |_| format!("scrub of {name} is {state}"))?)
        }
        PoolCommand::Scrub { name, rate, .. } => {
            let start = ScrubStart { bytes_per_second: rate.0 };
            let done: Done = cx.client.post(&format!("/v1/pools/{name}/scrub"), &start)?;
            Ok(cx.out.print(&done, |_| format!("scrub of {name} started: see `ashlar pool show {name}`"))?)
        }
        PoolCommand::Delete { name, force, yes } => {
            confirm(&format!("deleting pool {name} and all data in it"), yes)?;
            let done: Done = cx.client.delete(&format!("/v1/pools/{name}?force={force}"))?;
            Ok(cx.out.print(&done, |_| format!("pool {name} is deleted"))?)
        }
    }
}

pub(super) fn listing(pools: &[PoolView]) -> String {
    let row = |pool: &PoolView| {
        vec![
            pool.name.to_string(),
            size(pool.capacity),
            size(pool.allocated),
            size(pool.free),
            pool.volumes.to_string(),
            pool.health.clone(),
        ]
    };
    table(&["POOL", ">SIZE", ">USED", ">FREE", ">VOLUMES", "HEALTH"], pools.iter().map(row))
}

fn show(pool: &PoolView) -> String {
    let mut lines = vec![
        ("Pool", pool.name.to_string()),
        ("Health", pool.health.clone()),
        ("Size", size(pool.capacity)),
        ("Used", size(pool.allocated)),
        ("Free", size(pool.free)),
        ("Volumes", pool.volumes.to_string()),
    ];
    for device in &pool.devices {
        let safe = if device.survives_power_loss { "" } else { ", does not survive a loss of power" };
        let text = format!("{} ({}, {}{safe})", device.path.display(), size(device.size), device.mode);
        lines.push(("Device", text));
    }
    lines.push(("Scrub", pool.scrub.as_ref().map_or_else(|| "never since the start".into(), scrub)));
    facts(&lines)
}

fn scrub(scrub: &ScrubView) -> String {
    let state = match (scrub.running, scrub.paused) {
        (true, true) => "held",
        (true, false) => "running",
        (false, _) => "done",
    };
    let at = |damaged: &DamagedView| {
        let snapshot = damaged.snapshot.as_ref().map_or_else(String::new, |name| format!("@{name}"));
        format!("{}{snapshot} at {} ({} bytes)", damaged.volume, damaged.offset, damaged.length)
    };
    let damage = list(scrub.damaged.iter().take(10).map(at), "no damage");
    format!("{state}, {} of {}; {damage}", size(scrub.done), size(scrub.total))
}
