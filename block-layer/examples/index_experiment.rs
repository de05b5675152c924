//! Measures what the index costs a scattered 4 KiB overwrite: the figures of decision records 0002 and 0003.
//!
//! A volume's map pages (256 pointers each) lie in the bottom level; then come checkpoints of 65,536 random
//! overwrites each: ROUNDS to warm up and ROUNDS measured. Run with `--release` and one of:
//! `DIR overwrite (merge|versions|whole) (batch|sorted) (random|sequential) PAGES ROUNDS`, or
//! `DIR compression`.

use block_layer::index::{Batch, Index, IndexOptions, MergeRule, RocksIndex};
use rocksdb::{DBCompressionType, Options, SstFileWriter};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

const OVERWRITES: u64 = 65_536;
/// Partial versions of a page that pile up before it is written whole.
const PILE: u8 = 8;
const READS: u32 = 20_000;
const RULES: &[MergeRule] = &[MergeRule { kind: b'm', merge: lay_over }];

/// A version begins with what its pointers not listed one by one come from.
const PARTIAL: u8 = 0;
const RANDOM: u8 = 1;
const SEQUENTIAL: u8 = 2;
/// A listed pointer: its slot and 16 bytes.
const LISTED: usize = 17;

/// Bytes after the first that hold all 256 pointers: 16 each, or 4 (the CRC) and the run's start.
fn base_len(kind: u8) -> usize {
    match kind {
        RANDOM => 4096,
        SEQUENTIAL => 1024 + 16,
        _ => 0,
    }
}

fn lay_over(older: &[u8], newer: &[u8], out: &mut Vec<u8>) {
    if newer.first() != Some(&PARTIAL) {
        return out.extend_from_slice(newer);
    }
    let kind = older.first().copied().unwrap_or(PARTIAL);
    let (base, listed) = older.split_at((1 + base_len(kind)).min(older.len()));
    out.extend_from_slice(base);
    if kind == RANDOM {
        for entry in newer[1..].chunks_exact(LISTED) {
            let at = 1 + 16 * usize::from(entry[0]);
            out[at..at + 16].copy_from_slice(&entry[1..]);
        }
        return;
    }
    let (mut a, mut b) = (listed.chunks_exact(LISTED).peekable(), newer[1..].chunks_exact(LISTED).peekable());
    while a.peek().is_some() || b.peek().is_some() {
        let (left, right) =
            (a.peek().map_or(256, |e| e[0].into()), b.peek().map_or(256, |e| u16::from(e[0])));
        if left == right {
            a.next();
        }
        out.extend_from_slice(if left < right { a.next() } else { b.next() }.expect("one was peeked"));
    }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn pointer(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_le_bytes()
    }

    /// A whole page: CRCs and scattered addresses are as good as random.
    fn page(&mut self, kind: u8) -> Vec<u8> {
        let mut page = vec![kind];
        page.extend((0..base_len(kind) / 16).flat_map(|_| self.pointer()));
        page
    }

    /// The pages that one checkpoint touches, each with its partial version.
    fn touched(&mut self, pages: u64) -> BTreeMap<u32, Vec<u8>> {
        let mut slots: BTreeMap<u32, BTreeMap<u8, [u8; 16]>> = BTreeMap::new();
        for _ in 0..OVERWRITES {
            let at = self.next();
            slots.entry((at % pages) as u32).or_default().insert((at >> 56) as u8, self.pointer());
        }
        let listed = |slots: BTreeMap<u8, [u8; 16]>| {
            let mut version = vec![PARTIAL];
            slots.into_iter().for_each(|(slot, pointer)| {
                version.push(slot);
                version.extend(pointer);
            });
            version
        };
        slots.into_iter().map(|(page, slots)| (page, listed(slots))).collect()
    }
}

/// `m | branch | object | page | !epoch`: newer versions first.
fn key(page: u32, epoch: u64) -> Vec<u8> {
    [&[b'm'][..], &7u32.to_be_bytes(), &9u64.to_be_bytes(), &page.to_be_bytes(), &(!epoch).to_be_bytes()]
        .concat()
}

/// The whole page, from its versions; and how many there are.
fn read_page(index: &RocksIndex, page: u32) -> Outcome<(Vec<u8>, Vec<Vec<u8>>)> {
    let (mut versions, mut keys) = (Vec::new(), Vec::new());
    index.scan(&key(page, u64::MAX), &[&key(page, 0)[..], &[0]].concat(), &mut |key, version| {
        keys.push(key.to_vec());
        versions.push(version.to_vec());
        if version[0] == PARTIAL {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    let mut whole = versions.pop().ok_or("a page is gone")?;
    for newer in versions.iter().rev() {
        let mut out = Vec::new();
        lay_over(&whole, newer, &mut out);
        whole = out;
    }
    Ok((whole, keys))
}

/// User and system time of all threads, from ticks of 10 ms.
fn cpu() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().ok_or("a strange stat line")?;
    let times = after_name.split_whitespace().skip(11).take(2);
    let ticks = times.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
}

/// Bytes that this process has caused to be written to devices.
fn device_bytes() -> Outcome<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("no write_bytes")?.parse()?)
}

/// Waits until no compaction runs or waits.
fn settle(index: &RocksIndex) {
    let mut quiet = 0;
    while quiet < 10 {
        std::thread::sleep(Duration::from_millis(50));
        quiet = if index.compacting() { 0 } else { quiet + 1 };
    }
}

fn per(total: Duration, n: u64) -> f64 {
    total.as_secs_f64() * 1e6 / n as f64
}

fn options() -> IndexOptions {
    IndexOptions { cache_bytes: 128 << 20, prefix_len: 17, rules: RULES, ..IndexOptions::default() }
}

/// One way of laying out and writing.
struct Way<'a> {
    layout: &'a str,
    sorted: bool,
    kind: u8,
    pages: u64,
    rounds: u64,
}

impl Way<'_> {
    fn options(&self) -> IndexOptions {
        let sorted_from = if self.sorted { 1 } else { usize::MAX };
        IndexOptions { sorted_from, ..options() }
    }

    fn load(&self, index: &RocksIndex) -> Outcome<()> {
        let mut chance = Chance(1);
        for from in (0..self.pages as u32).step_by(16_384) {
            let mut batch = Batch::default();
            for page in from..(from + 16_384).min(self.pages as u32) {
                batch.put(key(page, 1), chance.page(self.kind));
            }
            index.write(batch)?;
        }
        index.compact();
        Ok(())
    }

    fn checkpoint(
        &self,
        index: &RocksIndex,
        epoch: u64,
        chance: &mut Chance,
        piles: &mut [u8],
    ) -> Outcome<()> {
        let mut batch = Batch::default();
        for (page, version) in chance.touched(self.pages) {
            let pile = &mut piles[page as usize];
            *pile += 1;
            match self.layout {
                "merge" => batch.merge(key(page, 1), version),
                "whole" => batch.put(key(page, 1), vec![chance.0 as u8; 1 + base_len(self.kind)]),
                _ if *pile < PILE => batch.put(key(page, epoch), version),
                _ => {
                    *pile = 0;
                    let (older, keys) = read_page(index, page)?;
                    let mut whole = Vec::new();
                    lay_over(&older, &version, &mut whole);
                    batch.put(key(page, epoch), whole);
                    keys.into_iter().for_each(|key| batch.delete(key));
                }
            }
        }
        index.write(batch)?;
        Ok(index.flush()?)
    }

    fn run(&self, dir: &Path, out: &mut impl Write) -> Outcome<()> {
        self.load(&RocksIndex::create(dir, options())?)?;
        let index = RocksIndex::open(dir, self.options())?;
        let disk =
            index.stats().disk_bytes as f64 / (1 << 30) as f64 * (1u64 << 20) as f64 / self.pages as f64;
        writeln!(out, "loaded: {disk:.2} GiB of index for 1 TiB mapped")?;

        // What making the updates costs by itself is not the index's.
        let before = cpu()?;
        let mut chance = Chance(2);
        (0..self.rounds).for_each(|_| drop(std::hint::black_box(chance.touched(self.pages))));
        let making = cpu()? - before;

        // The first half only brings the levels to the shape that they keep.
        let (mut chance, mut piles) = (Chance(2), vec![0; self.pages as usize]);
        let (mut before, mut written, mut device) = (cpu()?, 0, 0);
        let mut times = Vec::new();
        for round in 0..2 * self.rounds {
            if round == self.rounds {
                settle(&index);
                (before, written, device) = (cpu()?, index.stats().written_bytes, device_bytes()?);
                times.clear();
            }
            let begun = Instant::now();
            self.checkpoint(&index, 2 + round, &mut chance, &mut piles)?;
            times.push(begun.elapsed());
        }
        settle(&index);
        let n = OVERWRITES * self.rounds;
        times.sort();
        writeln!(
            out,
            "each 4 KiB overwrite: {:.0} B written ({:.0} B to the device), {:.2} us CPU; \
             checkpoint median {:?} worst {:?}; memory {} MiB",
            (index.stats().written_bytes - written) as f64 / n as f64,
            (device_bytes()? - device) as f64 / n as f64,
            per((cpu()? - before).saturating_sub(making), n),
            times[times.len() / 2],
            times[times.len() - 1],
            index.stats().memory_bytes >> 20,
        )?;
        drop(index);
        self.read(dir, out)
    }

    fn read(&self, dir: &Path, out: &mut impl Write) -> Outcome<()> {
        let index = RocksIndex::open(dir, IndexOptions { cache_bytes: 32 << 20, ..options() })?;
        let mut chance = Chance(3);
        let (before, begun) = (cpu()?, Instant::now());
        let mut versions = 0;
        for _ in 0..READS {
            versions += read_page(&index, (chance.next() % self.pages) as u32)?.1.len();
        }
        let (scan, wall) = (cpu()? - before, begun.elapsed());
        let before = cpu()?;
        for _ in 0..READS {
            std::hint::black_box(index.get(&key((chance.next() % self.pages) as u32, 1))?);
        }
        writeln!(
            out,
            "cold page: scan {:.1} us CPU ({:.1} us), {:.2} versions; get {:.1} us CPU",
            per(scan, READS.into()),
            per(wall, READS.into()),
            versions as f64 / f64::from(READS),
            per(cpu()? - before, READS.into()),
        )?;
        Ok(())
    }
}

/// Size and CPU of 65,536 pages in one table, by compression.
fn compression(dir: &Path, out: &mut impl Write) -> Outcome<()> {
    std::fs::create_dir_all(dir)?;
    let ways = [
        ("none", DBCompressionType::None),
        ("LZ4", DBCompressionType::Lz4),
        ("ZSTD", DBCompressionType::Zstd),
    ];
    for (kind, data) in [(RANDOM, "random"), (SEQUENTIAL, "sequential")] {
        for (name, how) in ways {
            let mut options = Options::default();
            options.set_compression_type(how);
            let mut file = SstFileWriter::create(&options);
            file.open(dir.join("table"))?;
            let (mut chance, mut spent) = (Chance(4), Duration::ZERO);
            for page in 0..65_536 {
                let value = chance.page(kind);
                let begun = Instant::now();
                file.put(key(page, 1), value)?;
                spent += begun.elapsed();
            }
            file.finish()?;
            let bytes = file.file_size() as f64 / 65_536.0;
            writeln!(out, "{data} {name}: {bytes:.0} B a page, {:.1} us", per(spent, 65_536))?;
        }
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut out = std::io::stdout().lock();
    match args[..] {
        [dir, "compression"] => compression(Path::new(dir), &mut out),
        [dir, "overwrite", layout @ ("merge" | "versions" | "whole"), how, data, pages, rounds] => {
            let kind = if data == "sequential" { SEQUENTIAL } else { RANDOM };
            let (pages, rounds) = (pages.parse()?, rounds.parse()?);
            Way { layout, sorted: how == "sorted", kind, pages, rounds }.run(Path::new(dir), &mut out)
        }
        _ => Err("see the head of this file for the arguments".into()),
    }
}
