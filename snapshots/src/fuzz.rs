//! The crate's decoders as the fuzzer sees them: each is fed bytes that others wrote, and what it accepts
//! must encode to bytes of the same meaning. A panic is a finding. Not an interface for anybody else.
//!
//! Absent on purpose: what the bytes would do to a pool. That is for the tests that damage whole pools.

use crate::catalogue::{Branch, Counters, Dataset, Record, Snapshot};
use crate::decode::Reader;
use crate::engine::{decode_value, split_live};
use crate::held::{Delta, Held};
use crate::ids::Epoch;
use crate::key::{CatalogueKey, DeathKey, LiveKey, MapKey, PastKey, TouchedKey};
use crate::machine::encode_value;
use crate::machine::mutation::{self, Mutation};
use crate::map::{codec, Page};
use crate::touched::{self, Touched};

/// Any key of the index: at most one of the parsers takes it, and encodes it back to the same bytes.
pub fn key(bytes: &[u8]) {
    let back = [
        MapKey::parse(bytes).ok().map(|key| key.encode()),
        TouchedKey::parse(bytes).ok().map(|key| key.encode()),
        LiveKey::parse(bytes).ok().map(|key| key.encode()),
        PastKey::parse(bytes).ok().map(|key| key.encode()),
        DeathKey::parse(bytes).ok().map(|key| key.encode()),
        CatalogueKey::parse(bytes).ok().map(|key| key.encode()),
    ];
    let taken: Vec<Vec<u8>> = back.into_iter().flatten().collect();
    assert!(taken.len() <= 1, "a key of two kinds");
    assert!(taken.iter().all(|key| key == bytes), "a key has two spellings");
}

/// A version of a map page; then the input in two halves, merged, as the index does at any time.
pub fn map_page(bytes: &[u8]) {
    if let Ok(partial) = codec::decode(bytes) {
        let mut again = Vec::new();
        codec::encode(&partial, &mut again);
        assert_eq!(codec::decode(&again).as_ref(), Ok(&partial));
        let page = Page::resolve_from([&partial]);
        assert!(page.iter().count() == page.count());
    }
    let (older, newer) = halves(bytes);
    let mut merged = Vec::new();
    codec::merge(older, newer, &mut merged);
    if let (Ok(older), Ok(newer)) = (codec::decode(older), codec::decode(newer)) {
        let mut both = newer.clone();
        both.lay_under(older);
        assert_eq!(codec::decode(&merged), Ok(both));
    } else {
        assert!(codec::decode(&merged).is_err(), "damage was merged away");
    }
}

/// A set of touched pages; then the input in two halves, merged.
pub fn touched(bytes: &[u8]) {
    if let Ok(set) = Touched::decode(bytes) {
        let mut again = Vec::new();
        set.encode(&mut again);
        let again = Touched::decode(&again).expect("what was encoded decodes");
        assert!(again.iter().eq(set.iter()) && set.iter().count() == set.len());
    }
    let (older, newer) = halves(bytes);
    let mut merged = Vec::new();
    touched::merge(older, newer, &mut merged);
    match (Touched::decode(older), Touched::decode(newer)) {
        (Ok(mut older), Ok(newer)) => {
            older.union(&newer);
            let merged = Touched::decode(&merged).expect("the union of sound sets is sound");
            assert!(merged.iter().eq(older.iter()));
        }
        _ => assert!(Touched::decode(&merged).is_err(), "damage was merged away"),
    }
}

/// A record of the catalogue; the first byte says of which kind.
pub fn catalogue(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => record::<Dataset>(bytes),
        1 => record::<Branch>(bytes),
        2 => record::<Snapshot>(bytes),
        3 => record::<Counters>(bytes),
        _ => record::<Vec<Delta>>(bytes),
    }
}

/// The mutations of a commit record.
pub fn mutations(bytes: &[u8]) {
    let mut all: Vec<Mutation> = Vec::new();
    if mutation::each(bytes, |mutation| all.push(mutation)).is_err() {
        return;
    }
    let mut again = Vec::new();
    all.iter().for_each(|mutation| mutation.encode(&mut again));
    let mut nth = all.iter();
    let same = mutation::each(&again, |mutation| assert_eq!(Some(&mutation), nth.next()));
    assert!(same.is_ok() && nth.next().is_none());
}

/// A space table: snapshots (each a step of 1 to 256 epochs, behind their number), then its cells.
pub fn space_table(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else { return };
    let Some((steps, cells)) = rest.split_at_checked((*count).into()) else { return };
    let mut epoch = 0;
    let snapshots: Vec<Epoch> = steps
        .iter()
        .map(|step| {
            epoch += 1 + u32::from(*step);
            Epoch(epoch)
        })
        .collect();
    let Ok(cells) = <Vec<Delta>>::decode(&mut Reader::new(cells)) else { return };
    let Ok(held) = Held::load(snapshots.iter().copied(), &cells) else { return };
    let cells: Vec<Delta> = held.cells().collect();
    let mut again = Held::load(held.snapshots(), &cells).expect("a table describes itself");
    assert!(again.cells().eq(cells) && again.total() == held.total());
    for snapshot in snapshots {
        let (unique, seen) = (again.unique(snapshot), again.referenced(snapshot));
        assert!(unique.expect("it is there") <= seen.expect("it is there"));
        assert!(again.merge_into_next(snapshot).is_ok());
    }
    assert_eq!(again.referenced_live(), held.referenced_live());
}

/// The value of a live small entry.
pub fn entry(bytes: &[u8]) {
    let Ok((_, value)) = split_live(bytes) else { return };
    let Ok(said) = decode_value(value) else { return };
    assert_eq!(encode_value(&said), value);
}

fn record<T: Record + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let Ok(record) = T::decode(&mut reader) else { return };
    let used = bytes.len() - reader.remaining().len();
    let mut again = Vec::new();
    record.encode(&mut again);
    assert_eq!(again, bytes[..used], "{record:?} has two spellings");
}

/// The input behind its first byte, cut where that says.
fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((cut, rest)) = bytes.split_first() else { return (&[], &[]) };
    rest.split_at(usize::from(*cut).min(rest.len()))
}
