//! The cache against a plain map.

use super::*;
use crate::alloc::Dice;
use std::collections::BTreeMap;

fn block(key: u32, version: u32) -> Vec<u8> {
    let mut data = vec![version as u8; BLOCK];
    data[..4].copy_from_slice(&key.to_le_bytes());
    data[4092..].copy_from_slice(&version.to_le_bytes());
    data
}

fn at(key: u32) -> Pba {
    Pba::of_block(key / 4000, key % 4000)
}

#[test]
fn what_is_found_is_what_was_last_inserted_and_not_evicted() {
    for (seed, blocks) in [(1, 1), (2, 37), (3, 3000), (4, 0), (5, 20_000)] {
        let mut dice = Dice(seed);
        let cache = BlockCache::new(blocks * BLOCK as u64);
        let mut model = BTreeMap::new();
        let (mut out, mut hits, mut misses) = (vec![0; BLOCK], 0, 0);
        for step in 0..30_000 {
            let key = [dice.below(50), dice.below(9000)][dice.below(2) as usize];
            let known = model.get(&key).copied();
            match dice.below(10) {
                0..4 => {
                    cache.insert(at(key), step, &block(key, step));
                    model.insert(key, step);
                }
                4..8 => {
                    let stale = dice.below(5) == 0;
                    let found = cache.get(at(key), known.unwrap_or(0) + u32::from(stale), &mut out);
                    assert!(!found || (!stale && out == block(key, known.expect("never inserted"))));
                    assert!(
                        blocks < 20_000 || found == (known.is_some() && !stale),
                        "nothing was pushed out"
                    );
                    *(if found { &mut hits } else { &mut misses }) += 1;
                }
                8 => {
                    cache.evict(at(key));
                    model.remove(&key);
                }
                _ => {
                    let blocks = 1 + dice.below(70).min(3999 - key % 4000);
                    cache.evict_run(Run { at: at(key), blocks });
                    (key..key + blocks).for_each(|key| _ = model.remove(&key));
                }
            }
        }
        cache.shards.iter().for_each(|shard| lock(shard).check());
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses), (hits, misses));
        assert!(stats.bytes <= stats.capacity_bytes && stats.capacity_bytes == blocks * BLOCK as u64);
    }
}

#[test]
fn everything_fits_when_there_is_room() {
    let cache = BlockCache::new(8192 * BLOCK as u64);
    let data = vec![5; BLOCK];
    (0..8192).for_each(|slot| cache.insert(Pba::of_block(3, slot), 1, &data));
    let mut out = vec![0; BLOCK];
    assert!((0..8192).all(|slot| cache.get(Pba::of_block(3, slot), 1, &mut out)));
    assert_eq!(cache.stats().bytes, 8192 * BLOCK as u64);
}

#[test]
fn a_scan_leaves_what_is_read_often() {
    let cache = BlockCache::new(1000 * BLOCK as u64);
    let (data, mut out) = (vec![7; BLOCK], vec![0; BLOCK]);
    let mut read = |pba| {
        let hit = cache.get(pba, 1, &mut out);
        if !hit {
            cache.insert(pba, 1, &data);
        }
        hit
    };
    for _ in 0..5 {
        (0..500).for_each(|slot| _ = read(Pba::of_block(0, slot)));
    }
    (0..16384).for_each(|slot| _ = read(Pba::of_block(1, slot)));
    let kept = (0..500).filter(|&slot| read(Pba::of_block(0, slot))).count();
    assert!(kept >= 450, "{kept} of 500 are left after the scan");
}
