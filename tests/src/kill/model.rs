//! The checker: what was sent and answered, and so what the pool must hold.
//!
//! A data command never overlaps another one in flight, nor one that a snapshot in flight may hold; they may
//! touch the same block. So each undecided write is decided by itself. Deletion of a volume and rollback
//! are sent when nothing else is in flight on the volume.

use super::image::{check_order, Image, Maybe};
use super::{Command, Listing, VOLUME_SECTORS};
use std::collections::BTreeMap;

/// A volume as it should be.
#[derive(Clone, Debug)]
pub(super) struct Volume {
    pub(super) live: Image,
    pub(super) snapshots: BTreeMap<String, Image>,
}

impl Volume {
    fn of(live: Image) -> Volume {
        Volume { live, snapshots: BTreeMap::new() }
    }
}

/// A data command in flight.
struct Flight {
    volume: String,
    maybe: Maybe,
    reads: bool,
}

/// A name of an image: the volume and, for a snapshot, its name.
pub(super) type ImageName = (String, Option<String>);

/// What was read of images, whole.
pub(super) type Found = BTreeMap<ImageName, Vec<u64>>;

/// The pool as it should be.
#[derive(Default)]
pub(super) struct World {
    pub(super) volumes: BTreeMap<String, Volume>,
    flights: BTreeMap<u64, Flight>,
    admin: Option<(u64, Command)>,
    /// The images that the snapshot in flight is taking.
    taking: BTreeMap<String, Image>,
    /// Nothing is sent to this volume: it is to be deleted or rolled back.
    pub(super) draining: Option<String>,
    clock: u64,
}

impl World {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Data commands in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn has_admin(&self) -> bool {
        self.admin.is_some()
    }

    pub(super) fn is_idle(&self, volume: &str) -> bool {
        self.flights.values().all(|flight| flight.volume != volume)
    }

    /// Whether a data command may be sent to this range.
    pub(super) fn is_free(&self, volume: &str, at: u64, count: u64) -> bool {
        let flying = self.flights.values().filter(|f| f.volume == volume).map(|f| &f.maybe);
        let mut taken = flying.chain(self.taking.get(volume).into_iter().flat_map(|image| &image.maybes));
        self.draining.as_deref() != Some(volume) && !taken.any(|maybe| maybe.overlaps(at, count))
    }

    /// A command is about to be sent.
    pub(super) fn sent(&mut self, id: u64, command: &Command) {
        let issued = self.tick();
        let (volume, at, count, tag, reads) = match command {
            Command::Write { volume, at, count, .. } => (volume, *at, *count, id, false),
            Command::Zero { volume, at, count } => (volume, *at, *count, 0, false),
            Command::Read { volume, snapshot: None, at, count } => (volume, *at, *count, 0, true),
            Command::Flush | Command::List | Command::Audit | Command::Read { .. } => return,
            admin => return self.admin_sent(id, admin),
        };
        let maybe = Maybe { id, at, count, tag, issued, acked: None };
        if let Some(image) = self.taking.get_mut(volume).filter(|_| !reads) {
            image.maybes.push(maybe.clone());
        }
        self.flights.insert(id, Flight { volume: volume.clone(), maybe, reads });
    }

    fn admin_sent(&mut self, id: u64, command: &Command) {
        assert!(self.admin.replace((id, command.clone())).is_none(), "one administrator");
        let Command::Snapshot(items) = command else { return };
        for (volume, _) in items {
            let flying = self.flights.values().filter(|f| f.volume == *volume && !f.reads);
            let maybes = flying.map(|f| f.maybe.clone()).collect();
            let tags = self.volumes[volume].live.tags.clone();
            self.taking.insert(volume.clone(), Image { tags, maybes, group: id });
        }
    }

    /// A command was answered. Gives a snapshot command's new images: they are to be read back.
    ///
    /// # Panics
    /// When a read gave anything but what was acknowledged.
    pub(super) fn answered(&mut self, id: u64, tags: Option<&[u64]>) -> Vec<ImageName> {
        let now = self.tick();
        if let Some(Flight { volume, maybe, reads }) = self.flights.remove(&id) {
            let live = &mut self.volumes.get_mut(&volume).expect("it is busy, so it stays").live;
            if reads {
                let should = &live.tags[maybe.range()];
                let is = tags.expect("a read answers tags");
                assert!(should == is, "{volume}, read {maybe:?}: {is:x?}, should be {should:x?}");
                return Vec::new();
            }
            live.tags[maybe.range()].fill(maybe.tag);
            let taking = self.taking.get_mut(&volume).into_iter().flat_map(|image| &mut image.maybes);
            taking.filter(|m| m.id == id).for_each(|m| m.acked = Some(now));
        } else if self.admin.as_ref().is_some_and(|(admin, _)| *admin == id) {
            let (_, command) = self.admin.take().expect("just seen");
            return self.done(&command);
        }
        Vec::new()
    }

    /// An administrative command has taken effect.
    fn done(&mut self, command: &Command) -> Vec<ImageName> {
        let mut images = Vec::new();
        match command {
            Command::Create(volume) => {
                self.volumes.insert(volume.clone(), Volume::of(Image::new(VOLUME_SECTORS)));
            }
            Command::Snapshot(items) => {
                for (volume, name) in items {
                    let image = self.taking.remove(volume).expect("it was sent");
                    self.volume(volume).snapshots.insert(name.clone(), image);
                    images.push((volume.clone(), Some(name.clone())));
                }
            }
            Command::DeleteSnapshot(volume, name) => drop(self.volume(volume).snapshots.remove(name)),
            Command::Clone(volume, name, new) => {
                let image = Image { group: 0, ..self.volumes[volume].snapshots[name].clone() };
                self.volumes.insert(new.clone(), Volume::of(image));
            }
            Command::Delete(volume) => drop(self.volumes.remove(volume)),
            Command::Rollback(volume, name) => {
                let volume = self.volume(volume);
                volume.live.tags.clone_from(&volume.snapshots[name].tags);
            }
            _ => {}
        }
        self.draining = None;
        images
    }

    fn volume(&mut self, name: &str) -> &mut Volume {
        self.volumes.get_mut(name).expect("it exists until its deletion is answered")
    }

    /// The child is dead and all its answers are heard: what is in flight may be there or not. Gives the
    /// number of writes in flight.
    pub(super) fn died(&mut self) -> usize {
        self.draining = None;
        let flights = std::mem::take(&mut self.flights);
        let writes = flights.into_values().filter(|flight| !flight.reads);
        let writes: Vec<Flight> = writes.collect();
        let count = writes.len();
        writes.into_iter().for_each(|f| self.volume(&f.volume).live.maybes.push(f.maybe));
        count
    }

    /// Compares images that were just taken with what was read of them.
    ///
    /// # Panics
    /// When they differ from everything that was acknowledged and may be.
    pub(super) fn settle(&mut self, found: &Found) {
        let mut fates = Vec::new();
        for ((volume, snapshot), tags) in found {
            let what = format!("{volume}@{}", snapshot.as_deref().unwrap_or("live"));
            let Some(volume) = self.volumes.get_mut(volume) else { panic!("{what} should not exist") };
            let image = match snapshot {
                Some(name) => volume.snapshots.get_mut(name),
                None => Some(&mut volume.live),
            };
            image.unwrap_or_else(|| panic!("{what} should not exist")).settle(tags, &what, &mut fates);
        }
        check_order(&fates);
    }

    /// Everything that a new child found: decides what was in flight when the last one died, and compares.
    ///
    /// # Panics
    /// As [`World::settle`].
    pub(super) fn verify(&mut self, listing: &Listing, found: &Found) {
        if let Some((_, command)) = self.admin.take() {
            if self.took_effect(&command, listing, found) {
                self.done(&command);
            }
            self.taking.clear();
        }
        let should: Listing = self.volumes.iter().map(|(name, v)| (name.clone(), names(v))).collect();
        assert_eq!(*listing, should, "volumes and snapshots: found, and should be");
        self.settle(found);
    }

    /// Whether an administrative command that was not answered has taken effect.
    fn took_effect(&self, command: &Command, listing: &Listing, found: &Found) -> bool {
        let has = |volume: &str, name: &str| listing.get(volume).is_some_and(|names| names.contains(name));
        match command {
            Command::Create(volume) | Command::Clone(_, _, volume) => listing.contains_key(volume),
            Command::Delete(volume) => !listing.contains_key(volume),
            Command::DeleteSnapshot(volume, name) => !has(volume, name),
            Command::Snapshot(items) => {
                let taken = items.iter().filter(|(volume, name)| has(volume, name)).count();
                assert!([0, items.len()].contains(&taken), "{command:?} was done in part");
                taken > 0
            }
            Command::Rollback(volume, name) => {
                found.get(&(volume.clone(), None)) == Some(&self.volumes[volume].snapshots[name].tags)
            }
            _ => false,
        }
    }
}

fn names(volume: &Volume) -> std::collections::BTreeSet<String> {
    volume.snapshots.keys().cloned().collect()
}
