//! Promises of pools as a whole: creation, opening, power cuts, changes of membership.

mod change;
mod create;
mod open;
mod write;

use super::testing::{run, MemDisk};
use super::*;
use crate::device::Disk;
use crate::format::{JournalMark, PoolName};
use crate::units::Seq;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

type Disks = Vec<Arc<MemDisk>>;

fn devices(disks: &[Arc<MemDisk>]) -> Vec<Arc<dyn Disk>> {
    disks.iter().map(|d| d.clone() as Arc<dyn Disk>).collect()
}

fn options(name: &str) -> CreateOptions {
    CreateOptions { name: PoolName::new(name).unwrap(), layout: Layout::default(), force: false }
}

/// A source of different numbers, the same in every run.
fn random(seed: u64) -> impl FnMut() -> u64 + Send {
    let mut next = seed;
    move || {
        next = next.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        next ^ next >> 31
    }
}

/// Disks `a`, `b`, … of these MiB, and the pool on them.
fn pool(name: &str, seed: u64, mib: &[u64]) -> (Disks, Membership) {
    let disk = |(letter, mib): (char, &u64)| MemDisk::shared(&format!("{name}-{letter}"), mib * MIB);
    let disks: Disks = ('a'..).zip(mib).map(disk).collect();
    let members = run(create(&devices(&disks), &options(name), &mut random(seed))).unwrap();
    (disks, members)
}

fn open(disks: &[Arc<MemDisk>]) -> Result<Assembled, PoolError> {
    run(assemble(&devices(disks), None))
}

fn refused(disks: &[Arc<MemDisk>]) -> String {
    open(disks).unwrap_err().to_string()
}

/// The mark `members` has, with the flushed sequence moved on to `flushed`.
fn mark(members: &Membership, flushed: u64) -> JournalMark {
    JournalMark { flushed: Seq(flushed), ..members.state().journal }
}
