//! Opening a pool: from a list of devices to its members, with the newest state that they hold.

use super::members::{Attached, Candidate};
use super::slots::{read_all, Device};
use super::{Membership, PoolError, Warning};
use crate::device::Disk;
use crate::format::superblock::Role;
use crate::format::{PoolId, PoolState};
use std::sync::Arc;

/// A pool whose devices are all there.
#[derive(Debug)]
pub struct Assembled {
    /// Its members.
    pub members: Membership,
    /// What was found that should be known.
    pub warnings: Vec<Warning>,
}

/// Puts the pool `expected` together from its devices; without `expected`, the pool of the first device.
///
/// Devices that are prepared to join the pool may be among them: they wait for the record that makes them
/// members (see [`Membership::apply`]). The journal is not looked at, nothing is written.
///
/// # Errors
/// A device that is missing, of another pool, given twice, too short, damaged or of a newer format.
pub async fn assemble(disks: &[Arc<dyn Disk>], expected: Option<PoolId>) -> Result<Assembled, PoolError> {
    let mut warnings = Vec::new();
    let devices = read_all(disks, &mut warnings).await?;
    refuse_strangers(&devices, expected)?;
    refuse_copies(&devices)?;
    // A device that only joins knows how the pool would look, not how it does.
    let is_member = |d: &&Device| d.superblock.role == Role::Member;
    let Some(newest) = devices.iter().filter(is_member).max_by_key(|d| d.superblock.pool.generation) else {
        return Err(no_member(&devices));
    };
    let state = newest.superblock.pool.clone();
    for device in &devices {
        check_device(device, newest, &mut warnings)?;
    }
    let members = attach(state, devices)?;
    Ok(Assembled { members, warnings })
}

/// The error for a pool of which no member was given.
fn no_member(devices: &[Device]) -> PoolError {
    let Some(joining) = devices.first() else { return PoolError::NoDevice };
    let pool = &joining.superblock.pool;
    let other = pool.members.iter().find(|m| m.id != joining.superblock.device);
    let member = other.unwrap_or(&pool.members[0]);
    missing(pool, member, devices.iter().map(|d| &d.disk))
}

fn missing<'a>(
    pool: &PoolState,
    member: &crate::format::Member,
    found: impl Iterator<Item = &'a Arc<dyn Disk>>,
) -> PoolError {
    PoolError::Missing {
        pool: pool.name.clone(),
        ordinal: member.ordinal,
        id: member.id,
        len: member.len,
        found: found.map(|d| d.name().to_owned()).collect(),
    }
}

fn refuse_strangers(devices: &[Device], expected: Option<PoolId>) -> Result<(), PoolError> {
    let Some(first) = devices.first() else { return Err(PoolError::NoDevice) };
    let pool_id = expected.unwrap_or(first.superblock.pool.id);
    match devices.iter().find(|d| d.superblock.pool.id != pool_id) {
        None => Ok(()),
        Some(stranger) => Err(PoolError::Foreign {
            device: stranger.disk.name().to_owned(),
            found: stranger.superblock.pool.name.clone(),
            found_id: stranger.superblock.pool.id,
            pool_id,
        }),
    }
}

fn refuse_copies(devices: &[Device]) -> Result<(), PoolError> {
    for (i, second) in devices.iter().enumerate() {
        if let Some(first) = devices[..i].iter().find(|d| d.superblock.device == second.superblock.device) {
            let (first, second) = (first.disk.name().to_owned(), second.disk.name().to_owned());
            return Err(PoolError::GivenTwice { first, second });
        }
    }
    Ok(())
}

/// Holds one device against the newest state.
fn check_device(device: &Device, newest: &Device, warnings: &mut Vec<Warning>) -> Result<(), PoolError> {
    let (superblock, state) = (&device.superblock, &newest.superblock.pool);
    let inconsistent = |what| PoolError::Inconsistent {
        device: device.disk.name().to_owned(),
        other: newest.disk.name().to_owned(),
        pool: state.name.clone(),
        what,
    };
    let is_member = superblock.role == Role::Member;
    if is_member && superblock.pool.generation == state.generation && superblock.pool != *state {
        return Err(inconsistent("they have different states of the same generation"));
    }
    let Some(member) = state.members.iter().find(|m| m.id == superblock.device) else {
        return if is_member { Err(inconsistent("the newer does not list the older")) } else { Ok(()) };
    };
    if member.ordinal != superblock.ordinal {
        return Err(inconsistent("they give a device two places"));
    }
    let (len, recorded) = (device.disk.geometry().len, member.len);
    if len < recorded {
        return Err(PoolError::Shrunk { device: device.disk.name().to_owned(), len, recorded });
    }
    let (generation, newest) = (superblock.pool.generation, state.generation);
    // One writing is interrupted by every crash; a device may be one behind, and is then brought up.
    if newest.saturating_sub(generation) > 1 {
        warnings.push(Warning::Behind { device: device.disk.name().to_owned(), generation, newest });
    }
    Ok(())
}

/// Gives each member its device; the others are candidates.
fn attach(state: PoolState, devices: Vec<Device>) -> Result<Membership, PoolError> {
    let listed = |d: &Device| state.members.iter().any(|m| m.id == d.superblock.device);
    let (mut members, others): (Vec<Device>, Vec<Device>) = devices.into_iter().partition(listed);
    let mut attached = Vec::with_capacity(state.members.len());
    for member in &state.members {
        let Some(at) = members.iter().position(|d| d.superblock.device == member.id) else {
            let found = attached.iter().map(|a: &Attached| &a.disk).chain(members.iter().map(|d| &d.disk));
            return Err(missing(&state, member, found.chain(others.iter().map(|d| &d.disk))));
        };
        let Device { disk, next_slot, .. } = members.swap_remove(at);
        attached.push(Attached { ordinal: member.ordinal, disk, next_slot });
    }
    let candidate = |d: Device| Candidate { id: d.superblock.device, disk: d.disk, next_slot: d.next_slot };
    Ok(Membership::new(state, attached, others.into_iter().map(candidate).collect()))
}
