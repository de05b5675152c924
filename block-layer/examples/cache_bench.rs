//! What a hit in the block cache costs, its copy of 4 KiB included: one core, uniform over a warm set of 512
//! MiB, and what a pin costs, the other thing that every cached read does.
//!
//! `cargo run --release -p block-layer --example cache_bench`

use block_layer::alloc::Pins;
use block_layer::cache::BlockCache;
use block_layer::{Pba, Seq, BLOCK};
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

const LOOKUPS: u32 = 2_000_000;
const ROUNDS: usize = 5;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    for warm_mib in [2u32, 64, 512] {
        let blocks = warm_mib << 8;
        let cache = BlockCache::new(1 << 30);
        let data = vec![0x5a; BLOCK];
        (0..blocks).for_each(|block| cache.insert(address(block), block, &data));
        let mut buffer = vec![0; BLOCK];
        let hit = best_of_rounds(|dice| {
            let block = dice % blocks;
            assert!(cache.get(address(block), block, black_box(&mut buffer)));
        });
        let miss = best_of_rounds(|dice| {
            assert!(!cache.get(address(dice % blocks), u32::MAX, black_box(&mut buffer)));
        });
        writeln!(out, "{warm_mib:4} MiB warm: hit {hit:.0} ns, miss {miss:.0} ns")?;
    }
    let pins = Pins::new();
    let pin = best_of_rounds(|dice| drop(black_box(pins.pin(Seq(u64::from(dice >> 30))))));
    writeln!(out, "pin and unpin: {pin:.0} ns")
}

fn address(block: u32) -> Pba {
    Pba::of_block(block >> 14, block & 0x3fff)
}

/// Nanoseconds of a call in the best of the rounds.
fn best_of_rounds(mut call: impl FnMut(u32)) -> f64 {
    let mut dice = 1u64;
    let mut round = || {
        let start = Instant::now();
        for _ in 0..LOOKUPS {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            call((dice >> 33) as u32);
        }
        start.elapsed().as_nanos() as f64 / f64::from(LOOKUPS)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}
