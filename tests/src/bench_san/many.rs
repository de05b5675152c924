//! A thousand LUNs and ten thousand snapshots: how soon the daemon is there, and whether its I/O feels them.

use super::generator;
use super::rows::Bench;
use super::servers::{Ashlar, Server, CACHED};
use super::Settings;
use crate::bench::load::random_data;
use crate::bench::report::{Goal, Report};
use crate::bench::Failure;
use std::time::Instant;

/// The row's name.
const NAME: &str = "1,000 LUNs, 10,000 snapshots";

/// The row.
///
/// # Errors
/// A server fails.
pub fn run(settings: &Settings, bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    if !settings.wants(NAME) {
        return Ok(());
    }
    let place = Ashlar::new(settings, "many");
    let full = settings.dir.join("many/full");
    if !full.exists() {
        furnish(settings, &place)?;
        std::fs::write(&full, "")?;
    }
    let (server, ready) = place.start()?;
    let goal = Goal::AtMost(10.0);
    report.add("ashlar", &format!("{NAME}: ready"), (ready.as_secs_f64(), "s"), None, goal);
    for line in ["volume list", "lun list", "snapshot list b/v1"] {
        let begun = Instant::now();
        drop(place.cli(line)?);
        let took = begun.elapsed().as_secs_f64();
        report.add("ashlar", &format!("{NAME}: {line}"), (took, "s"), None, Goal::AtMost(1.0));
    }
    for _ in 0..2 {
        generator::sweep(&server.endpoint(CACHED), settings.cached, None)?;
    }
    let (rate, peer) = bench.compare(&server)?;
    let goal = Goal::RatioAtLeast(0.9);
    report.add("many | one", &format!("{NAME}: random read"), (rate, "IO/s"), Some(peer), goal);
    Ok(())
}

/// Makes it all through the command line, as an administrator would; an ordinary volume is LUN 0.
fn furnish(settings: &Settings, place: &Ashlar) -> Result<(), Failure> {
    let (server, _): (Server, _) = place.start()?;
    place.furnish(4 * settings.cached + (1 << 30), settings.cached)?;
    for lun in 1..settings.luns {
        place.cli(&format!("volume create b/v{lun} --size 10G"))?;
        place.cli(&format!("lun map b/v{lun} --host cached --lun {lun}"))?;
    }
    generator::sweep(&server.endpoint(CACHED), settings.cached, Some(&random_data()))?;
    for snapshot in 0..settings.snapshots {
        let volume = snapshot % settings.luns.max(1);
        place.cli(&format!("snapshot create b/v{volume}@s{snapshot}"))?;
    }
    Ok(())
}
