//! What a volume or a snapshot must hold, with what may or may not be in it yet.

/// A write that an image may hold wholly, or not at all.
#[derive(Clone, Debug)]
pub(super) struct Maybe {
    /// The command.
    pub(super) id: u64,
    /// The first sector.
    pub(super) at: u64,
    /// Sectors.
    pub(super) count: u64,
    /// What it writes: its ID, or 0 for zeroes.
    pub(super) tag: u64,
    /// When it was sent, by the parent's clock.
    pub(super) issued: u64,
    /// When its answer was heard, if it was.
    pub(super) acked: Option<u64>,
}

impl Maybe {
    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.at as usize..(self.at + self.count) as usize
    }

    pub(super) fn overlaps(&self, at: u64, count: u64) -> bool {
        self.at < at + count && at < self.at + self.count
    }
}

/// The tags of all sectors, and the writes that are not decided. Those never overlap each other.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) tags: Vec<u64>,
    pub(super) maybes: Vec<Maybe>,
    /// The command that took it, if it is a snapshot: those of one command are one instant.
    pub(super) group: u64,
}

/// What became of a write in an image.
pub(super) struct Fate {
    pub(super) group: u64,
    pub(super) maybe: Maybe,
    pub(super) applied: bool,
}

impl Image {
    pub(super) fn new(sectors: u64) -> Image {
        Image { tags: vec![0; sectors as usize], maybes: Vec::new(), group: 0 }
    }

    /// Compares with what was read, and decides what was open; `what` names the image.
    ///
    /// # Panics
    /// When a write is there in part, or anything else differs.
    pub(super) fn settle(&mut self, found: &[u64], what: &str, fates: &mut Vec<Fate>) {
        assert_eq!(found.len(), self.tags.len(), "{what}: the read was cut short");
        for maybe in std::mem::take(&mut self.maybes) {
            let (was, is) = (&mut self.tags[maybe.range()], &found[maybe.range()]);
            let (new, old) = (is.iter().all(|tag| *tag == maybe.tag), is == was);
            assert!(new || old, "{what}: command {maybe:?} is there in part: {is:x?}");
            if new {
                was.fill(maybe.tag);
            }
            if new != old {
                fates.push(Fate { group: self.group, maybe, applied: new });
            }
        }
        if let Some(at) = self.tags.iter().zip(found).position(|(should, is)| should != is) {
            let last = self.tags.iter().zip(found).rposition(|(should, is)| should != is);
            let (should, is) = (self.tags[at], found[at]);
            panic!("{what}: sector {at} (to {last:?}) is of command {is:#x}, should be of {should:#x}");
        }
    }
}

/// One instant, one order: who was answered before another was sent is in every image that has the other.
///
/// # Panics
/// When it is not so.
pub(super) fn check_order(fates: &[Fate]) {
    for out in fates.iter().filter(|fate| !fate.applied) {
        let later = |fate: &&Fate| {
            fate.applied
                && fate.group == out.group
                && out.maybe.acked.is_some_and(|acked| acked < fate.maybe.issued)
        };
        if let Some(later) = fates.iter().find(later) {
            let (early, late) = (&out.maybe, &later.maybe);
            panic!("snapshot of command {}: it has {late:?}, but not {early:?}", out.group);
        }
        // A snapshot that holds a write came after it, and so did the live side.
        let in_snapshot = |fate: &&Fate| fate.applied && fate.group != 0 && fate.maybe.id == out.maybe.id;
        if let Some(snapshot) = fates.iter().find(in_snapshot).filter(|_| out.group == 0) {
            panic!("{:?} is in the snapshot of command {}, but not live", out.maybe, snapshot.group);
        }
    }
}
