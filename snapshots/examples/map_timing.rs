//! Times the operations of the map that stand on the way of writes and checkpoints, in nanoseconds a call:
//! `cargo run --release -p snapshots --example map_timing`.

use block_layer::Pba;
use snapshots::map::{codec, Page, Partial, Pointer, Slot};
use snapshots::Epoch;
use std::hint::black_box;
use std::io::{stdout, Write};
use std::time::Instant;

/// A generator for test data (xorshift).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pointer(&mut self) -> Pointer {
        Pointer::new(Pba::new(self.next() % (1 << 40) * 8), self.next() as u32, Epoch(7))
    }
}

/// Calls `job` `rounds` times and writes a line: what it was and the best of five averages.
fn time(what: &str, rounds: u32, calls_a_round: u32, mut job: impl FnMut()) -> std::io::Result<()> {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        (0..rounds).for_each(|_| job());
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(rounds * calls_a_round));
    }
    writeln!(stdout(), "{what:<44} {best:>9.1} ns")
}

fn main() -> std::io::Result<()> {
    let mut rng = Rng(0x9e37_79b9_7f4a_7c15);
    let pointers: Vec<Pointer> = (0..256).map(|_| rng.pointer()).collect();
    let mut order: Vec<u8> = (0..=255).collect();
    (1..256).rev().for_each(|i| order.swap(i, (rng.next() % (i as u64 + 1)) as usize));

    let (mut sequential, mut random, mut few) = (Partial::default(), Partial::default(), Partial::default());
    sequential.set_run(0, (0..256_u32).map(|i| Some(Pointer::new(Pba::new(8 * u64::from(i)), i, Epoch(7)))));
    random.set_run(0, pointers.iter().copied().map(Some));
    order.iter().take(16).for_each(|slot| few.set(*slot, Slot::Data(pointers[usize::from(*slot)])));

    let set_all = |partial: &mut Partial| {
        order.iter().for_each(|slot| partial.set(*slot, Slot::Data(pointers[usize::from(*slot)])));
    };
    let mut warm = random.clone();
    time("set, all slots known", 4000, 256, || set_all(black_box(&mut warm)))?;
    time("set, filling an empty partial at random", 4000, 256, || {
        let mut partial = Partial::default();
        set_all(black_box(&mut partial));
    })?;
    time("get", 4000, 256, || {
        order.iter().for_each(|slot| {
            black_box(warm.get(*slot));
        });
    })?;
    time("set_run of 256", 20_000, 1, || {
        black_box(&mut warm).set_run(0, pointers.iter().copied().map(Some))
    })?;
    let mut page = Page::EMPTY;
    time("apply 16 slots to a page", 100_000, 1, || black_box(&mut page).apply(&few))?;
    time("apply 256 slots to a page", 20_000, 1, || black_box(&mut page).apply(&random))?;
    time("resolve a page from 7 x 16 and 256 slots", 10_000, 1, || {
        black_box(Page::resolve_from([&few; 7].into_iter().chain([&random])));
    })?;

    for (name, partial) in [("16 random", &few), ("256 random", &random), ("256 sequential", &sequential)] {
        let mut value = Vec::new();
        codec::encode(partial, &mut value);
        writeln!(stdout(), "{name}: {} bytes", value.len())?;
        let mut out = Vec::with_capacity(codec::ENCODED_MAX);
        time(&format!("encode {name}"), 10_000, 1, || {
            out.clear();
            codec::encode(black_box(partial), &mut out);
        })?;
        time(&format!("decode {name}"), 10_000, 1, || {
            black_box(codec::decode(black_box(&value)).is_ok());
        })?;
        let one = codec::encode_one(77, Slot::Data(pointers[77]));
        time(&format!("merge one slot into {name}"), 10_000, 1, || {
            out.clear();
            codec::merge(black_box(&value), &one, &mut out);
        })?;
    }
    Ok(())
}
