//! Order and inverse of every key, on numbers at the edges and names full of zeros.

use super::*;
use crate::testing::{golden, Rng};

fn number(rng: &mut Rng) -> u64 {
    let edges = [0, 1, 246, 247, 248, 255, 256, 0xffff, 0x1_0000, u64::MAX - 1, u64::MAX];
    match rng.below(3) {
        0 => edges[rng.below(edges.len() as u64) as usize],
        1 => rng.next() >> rng.below(64),
        _ => rng.below(1000),
    }
}

fn epoch(rng: &mut Rng) -> Epoch {
    Epoch(number(rng) as u32)
}

fn branch(rng: &mut Rng) -> BranchId {
    BranchId(rng.below(3) as u32)
}

/// Checks that `make` yields keys whose bytes sort as `order` does, and that `parse` is the inverse.
fn check_order<K: PartialEq + std::fmt::Debug, O: Ord>(
    make: impl Fn(&mut Rng) -> K,
    encode: impl Fn(&K) -> Vec<u8>,
    parse: impl Fn(&[u8]) -> Result<K, Damaged>,
    order: impl Fn(&K) -> O,
) {
    let mut rng = Rng::new(13);
    for _ in 0..20_000 {
        let (a, b) = (make(&mut rng), make(&mut rng));
        let (bytes_a, bytes_b) = (encode(&a), encode(&b));
        assert_eq!(order(&a).cmp(&order(&b)), bytes_a.cmp(&bytes_b), "{a:?} {b:?}");
        assert_eq!(parse(&bytes_a).as_ref(), Ok(&a));
        let mutated = rng.mutate(&bytes_a);
        if let Ok(other) = parse(&mutated) {
            assert_eq!(encode(&other), mutated);
        }
        let noise = [&bytes_a[..1], &rng.bytes(20)].concat();
        if let Ok(other) = parse(&noise) {
            assert_eq!(encode(&other), noise);
        }
    }
}

#[test]
fn map_keys_sort_by_page_and_then_newest_first() {
    check_order(
        |r| MapKey {
            branch: branch(r),
            object: ObjectId(number(r)),
            page: PageNo(number(r)),
            epoch: epoch(r),
        },
        MapKey::encode,
        MapKey::parse,
        |k| (k.branch, k.object, k.page, std::cmp::Reverse(k.epoch)),
    );
}

#[test]
fn touched_keys_sort_by_epoch_object_and_group() {
    check_order(
        |r| TouchedKey { branch: branch(r), epoch: epoch(r), object: ObjectId(number(r)), group: number(r) },
        TouchedKey::encode,
        TouchedKey::parse,
        |k| (k.branch, k.epoch, k.object, k.group),
    );
}

#[test]
fn live_keys_sort_by_name() {
    check_order(
        |r| LiveKey { branch: branch(r), name: r.bytes(5) },
        LiveKey::encode,
        LiveKey::parse,
        |k| (k.branch, k.name.clone()),
    );
}

#[test]
fn past_keys_sort_by_name_and_then_by_their_end() {
    check_order(
        |r| PastKey { branch: branch(r), name: r.bytes(5), to: epoch(r), from: epoch(r) },
        PastKey::encode,
        PastKey::parse,
        |k| (k.branch, k.name.clone(), k.to, k.from),
    );
}

#[test]
fn death_keys_sort_by_their_end_and_then_by_name() {
    check_order(
        |r| DeathKey { branch: branch(r), to: epoch(r), name: r.bytes(5) },
        DeathKey::encode,
        DeathKey::parse,
        |k| (k.branch, k.to, k.name.clone()),
    );
}

#[test]
fn catalogue_keys_sort_by_their_fields() {
    check_order(
        |r| CatalogueKey { table: r.below(3) as u8, rest: r.bytes(5) },
        CatalogueKey::encode,
        CatalogueKey::parse,
        |k| (k.table, k.rest.clone()),
    );
}

#[test]
fn a_prefix_scan_of_names_finds_exactly_the_names_that_begin_so() {
    let mut rng = Rng::new(14);
    for _ in 0..20_000 {
        let (name, prefix) = (rng.bytes(5), rng.bytes(3));
        let from = LiveKey::of_names(BranchId(u32::MAX), &prefix);
        let end = prefix_end(&from).unwrap();
        let begins_so = name.starts_with(&prefix);
        let key = LiveKey { branch: BranchId(u32::MAX), name }.encode();
        assert_eq!(from <= key && key < end, begins_so, "{key:02x?} {prefix:02x?}");
    }
}

#[test]
fn a_scan_of_a_page_from_an_epoch_starts_at_the_newest_version_that_the_epoch_sees() {
    let (branch, object, page) = (BranchId(1), ObjectId(0), PageNo(300));
    let key = |epoch| MapKey { branch, object, page, epoch: Epoch(epoch) }.encode();
    let versions = [key(9), key(5), key(2)];
    assert!(versions.is_sorted());
    let first = |epoch| versions.iter().find(|version| **version >= key(epoch));
    assert_eq!((first(10), first(7), first(1)), (Some(&versions[0]), Some(&versions[1]), None));
    let prefix = MapKey::of_page(branch, object, page);
    assert!(versions.iter().all(|version| version.starts_with(&prefix)));
    assert!(!MapKey { branch, object, page: PageNo(301), epoch: Epoch(5) }.encode().starts_with(&prefix));
    assert!(prefix.starts_with(&MapKey::of_object(branch, object)));
    assert!(prefix.starts_with(&MapKey::of_branch(branch)));
}

#[test]
fn a_prefix_of_the_largest_bytes_has_no_end() {
    assert_eq!(prefix_end(&[1, 0xff, 0xff]), Some(vec![2]));
    assert_eq!(prefix_end(&[0xff, 0xff]), None);
    assert_eq!(prefix_end(&[]), None);
}

#[test]
fn the_format_has_not_changed() {
    let (branch, epoch) = (BranchId(0x0102_0304), Epoch(0x0a0b_0c0d));
    let (object, name) = (ObjectId(300), b"a\0b".to_vec());
    let keys = [
        MapKey { branch, object, page: PageNo(247), epoch }.encode(),
        MapKey { branch, object: ObjectId(0), page: PageNo(u64::MAX), epoch }.encode(),
        TouchedKey { branch, epoch, object, group: 3 }.encode(),
        LiveKey { branch, name: name.clone() }.encode(),
        PastKey { branch, name: name.clone(), to: epoch, from: Epoch(1) }.encode(),
        DeathKey { branch, to: epoch, name: name.clone() }.encode(),
        CatalogueKey { table: 7, rest: name }.encode(),
    ];
    // Each key behind its length in one byte.
    let file: Vec<u8> = keys.iter().flat_map(|key| [&[key.len() as u8], &key[..]].concat()).collect();
    golden("keys-v1.bin", &file);
}
