//! The allocator against a naive model: one state a block, a log, an index that is a map.

use super::*;
use crate::index::{Batch, Change};

/// A tiny generator of deterministic chance (xorshift with a multiplier).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number below `n`, which is at least 1.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        ((x ^ (x >> 32)) % u64::from(n)) as u32
    }
}

const SEGMENTS: u32 = 6;
const BLOCKS: usize = (SEGMENTS * BLOCKS_PER_SEGMENT) as usize;
const CONFIG: AllocConfig = AllocConfig { reserve_blocks: 500, ref_entries: 40 };

#[derive(Clone, Copy, Debug, PartialEq)]
enum Block {
    Free,
    Flight,
    /// With so many extra references.
    Used(u32),
    Quarantine(Seq),
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Alloc(Run),
    Free(Seq, Run),
    Ref(Pba, bool),
}

/// The index: operands as they came, merged in chance grouping when read.
#[derive(Default)]
struct FakeIndex(BTreeMap<Vec<u8>, Vec<Vec<u8>>>);

fn key(record: Record) -> Vec<u8> {
    let (kind, a, b) = match record {
        Record::Bitmap(segment) => (b'b', segment, 0),
        Record::Summary(group) => (b's', group, 0),
        Record::Refs { segment, slot } => (b'r', segment, slot),
    };
    [&[kind][..], &a.to_be_bytes(), &b.to_be_bytes()].concat()
}

impl FakeIndex {
    fn write(&mut self, batch: Batch) {
        for change in batch.changes {
            match change {
                Change::Put(key, value) => drop(self.0.insert(key, vec![value])),
                Change::Delete(key) => drop(self.0.remove(&key)),
                Change::Merge(key, operand) => self.0.entry(key).or_default().push(operand),
                Change::DeleteRange(..) => unreachable!(),
            }
        }
    }

    fn bitmap(&mut self, segment: u32, dice: &mut Dice) -> Bitmap {
        let Some(operands) = self.0.get_mut(&key(Record::Bitmap(segment))) else { return Bitmap::new() };
        while operands.len() > 1 {
            let at = dice.below(operands.len() as u32 - 1) as usize;
            let mut out = Vec::new();
            merge_bitmap(&operands[at], &operands[at + 1], &mut out);
            operands.splice(at..at + 2, [out]);
        }
        decode_bitmap(&operands[0]).unwrap()
    }

    fn refs(&self, segment: u32) -> Vec<(u32, u32)> {
        let range = key(Record::Refs { segment, slot: 0 })..key(Record::Refs { segment, slot: u32::MAX });
        let slot = |key: &[u8]| u32::from_be_bytes(key[5..].try_into().unwrap());
        self.0.range(range).map(|(key, value)| (slot(key), decode_count(&value[0]).unwrap())).collect()
    }

    fn summaries(&self) -> Vec<Summary> {
        let stored = self.0.get(&key(Record::Summary(0)));
        let stored = stored.map_or(Vec::new(), |value| decode_summary(&value[0]).unwrap());
        let state = SegmentState::READY;
        let known = stored.into_iter().map(|(free, refs)| Summary { free, refs, state });
        known.chain(std::iter::repeat(Summary::empty(state))).take(SEGMENTS as usize).collect()
    }
}

enum Checkpoint {
    None,
    /// What it froze, the length of the log and the blocks at its cut.
    Frozen(Arc<Frozen>, usize, Vec<Block>),
    /// The index has it.
    Written,
}

struct World {
    seed: u64,
    dice: Dice,
    allocator: Allocator,
    blocks: Vec<Block>,
    in_flight: Vec<Run>,
    allocated: Vec<Run>,
    seq: Seq,
    released: Seq,
    /// Commits since the cut that the index has, and the blocks as they were then.
    log: Vec<Op>,
    base: Vec<Block>,
    index: FakeIndex,
    checkpoint: Checkpoint,
    /// Bitmaps read from the index and not yet installed.
    reads: Vec<(u32, Bitmap, Cut)>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed of this failure: {}", self.seed);
        }
    }
}

fn range(run: Run) -> std::ops::Range<usize> {
    let start = number(run.at.segment(), run.at.slot()) as usize;
    start..start + run.blocks as usize
}

impl World {
    fn new(seed: u64) -> World {
        let index = FakeIndex::default();
        World {
            seed,
            dice: Dice(seed),
            allocator: Allocator::new(CONFIG, index.summaries()).unwrap(),
            blocks: vec![Block::Free; BLOCKS],
            in_flight: Vec::new(),
            allocated: Vec::new(),
            seq: Seq(0),
            released: Seq(0),
            log: Vec::new(),
            base: vec![Block::Free; BLOCKS],
            index,
            checkpoint: Checkpoint::None,
            reads: Vec::new(),
        }
    }

    fn pick(&mut self, of: impl Fn(&mut World) -> &mut Vec<Run>) -> Option<Run> {
        let len = of(self).len() as u32;
        (len > 0).then(|| self.dice.below(len) as usize).map(|at| of(self).swap_remove(at))
    }

    fn alloc(&mut self) {
        let size = [4, 300, 9000][self.dice.below(3) as usize];
        let blocks = 1 + self.dice.below(size);
        let purpose = [Purpose::Write, Purpose::Reserved][self.dice.below(2) as usize];
        let before = self.allocator.space();
        let reserve = if purpose == Purpose::Write { CONFIG.reserve_blocks } else { 0 };
        match alloc(&mut self.allocator, blocks, purpose) {
            Ok(runs) => {
                assert_eq!(runs.iter().map(|run| run.blocks).sum::<u32>(), blocks);
                assert!(u64::from(blocks) + reserve <= before.allocatable);
                for run in runs {
                    assert!(self.blocks[range(run)].iter().all(|b| *b == Block::Free), "{run:?} is not free");
                    self.blocks[range(run)].fill(Block::Flight);
                    self.in_flight.push(run);
                }
            }
            Err(AllocError::NotReady) => {
                assert!(u64::from(blocks) + reserve <= before.allocatable);
                assert_eq!(self.allocator.space(), before);
                self.read_wanted();
            }
            Err(AllocError::NoSpace { .. }) => {
                assert!(u64::from(blocks) + reserve > before.allocatable);
                assert_eq!(self.allocator.space(), before);
            }
        }
    }

    fn read_wanted(&mut self) {
        let cut = self.allocator.cut();
        for segment in self.allocator.wants() {
            self.reads.push((segment, self.index.bitmap(segment, &mut self.dice), cut));
        }
    }

    fn install(&mut self) {
        if !self.reads.is_empty() {
            let at = self.dice.below(self.reads.len() as u32) as usize;
            let (segment, bitmap, cut) = self.reads.swap_remove(at);
            self.allocator.install(segment, bitmap, cut).unwrap();
        }
    }

    fn commit_alloc(&mut self) {
        let Some(run) = self.pick(|world| &mut world.in_flight) else { return };
        self.seq = self.seq.next();
        if self.dice.below(8) == 0 {
            self.allocator.undo(&[run]);
            self.blocks[range(run)].fill(Block::Free);
        } else {
            self.apply(Op::Alloc(run));
            self.log.push(Op::Alloc(run));
            assert!(self.allocator.commit_alloc(run).is_err(), "a double allocation must be seen");
        }
    }

    fn commit_free(&mut self) {
        let Some(mut run) = self.pick(|world| &mut world.allocated) else { return };
        if run.blocks > 1 && self.dice.below(2) == 0 {
            let left = 1 + self.dice.below(run.blocks - 1);
            let at = run.at.plus_blocks(u64::from(left));
            self.allocated.push(Run { at, blocks: run.blocks - left });
            run.blocks = left;
        }
        self.load_refs(run.at);
        if self.blocks[range(run)].iter().any(|b| matches!(b, Block::Used(1..))) {
            assert!(self.allocator.commit_free(self.seq, run).is_err());
            return self.allocated.push(run);
        }
        self.seq = self.seq.next();
        self.apply(Op::Free(self.seq, run));
        self.log.push(Op::Free(self.seq, run));
        assert!(self.allocator.commit_free(self.seq, run).is_err(), "a double free must be seen");
    }

    fn load_refs(&mut self, pba: Pba) {
        if self.allocator.ref_needs(pba) {
            let (counts, cut) = (self.index.refs(pba.segment()), self.allocator.cut());
            assert!(self.allocator.ref_install(pba.segment(), counts, cut).unwrap());
        }
    }

    fn change_ref(&mut self) {
        let Some(run) = self.pick(|world| &mut world.allocated) else { return };
        self.allocated.push(run);
        let pba = run.at.plus_blocks(u64::from(self.dice.below(run.blocks.min(20))));
        self.load_refs(pba);
        let Block::Used(count) = self.blocks[range(Run { at: pba, blocks: 1 }).start] else { unreachable!() };
        assert_eq!(self.allocator.ref_count(pba), Some(count));
        let more = self.dice.below(3) == 0;
        if !more && count == 0 {
            assert!(self.allocator.ref_change(pba, 1, 0).is_err());
            return;
        }
        self.apply(Op::Ref(pba, more));
        self.log.push(Op::Ref(pba, more));
    }

    /// Applies a commit to the allocator and to the model.
    fn apply(&mut self, op: Op) {
        match op {
            Op::Alloc(run) => {
                self.allocator.commit_alloc(run).unwrap();
                self.blocks[range(run)].fill(Block::Used(0));
                self.allocated.push(run);
            }
            Op::Free(seq, run) => {
                self.allocator.commit_free(seq, run).unwrap();
                self.blocks[range(run)].fill(Block::Quarantine(seq));
            }
            Op::Ref(pba, more) => {
                self.load_refs(pba);
                let before = self.allocator.ref_count(pba).unwrap();
                let count = if more { before + 1 } else { before - 1 };
                self.allocator.ref_change(pba, before, count).unwrap();
                self.blocks[range(Run { at: pba, blocks: 1 }).start] = Block::Used(count);
            }
        }
    }

    fn release(&mut self) {
        let ahead = (self.seq.0 - self.released.0) as u32;
        self.released = Seq(self.released.0 + u64::from(self.dice.below(ahead + 1)));
        let freed = self.allocator.release(self.released);
        let upto = self.released;
        let mut count = 0;
        for block in self.blocks.iter_mut().filter(|b| matches!(b, Block::Quarantine(s) if *s <= upto)) {
            *block = Block::Free;
            count += 1;
        }
        assert_eq!(freed, count);
    }

    fn step_checkpoint(&mut self) {
        match std::mem::replace(&mut self.checkpoint, Checkpoint::None) {
            Checkpoint::None => {
                let settle = |b: &Block| match b {
                    Block::Used(_) => *b,
                    _ => Block::Free,
                };
                let blocks = self.blocks.iter().map(settle).collect();
                self.checkpoint = Checkpoint::Frozen(self.allocator.freeze(), self.log.len(), blocks);
            }
            Checkpoint::Frozen(frozen, cut, blocks) => {
                let mut batch = Batch::default();
                frozen.write(&mut batch, key);
                self.index.write(batch);
                self.log.drain(..cut);
                self.base = blocks;
                self.checkpoint = Checkpoint::Written;
                self.check_index();
            }
            Checkpoint::Written => self.allocator.drop_frozen(),
        }
    }

    /// The index says what the blocks were at the cut.
    fn check_index(&mut self) {
        for (segment, summary) in self.index.summaries().into_iter().enumerate() {
            let bitmap = self.index.bitmap(segment as u32, &mut self.dice);
            let all = Run { at: Pba::of_block(segment as u32, 0), blocks: BLOCKS_PER_SEGMENT };
            let base = &self.base[range(all)];
            for (slot, block) in base.iter().enumerate() {
                assert_eq!(bitmap.get(slot as u32), *block != Block::Free, "{segment}:{slot}");
            }
            let shared = base.iter().enumerate().filter_map(|(slot, b)| match b {
                Block::Used(count @ 1..) => Some((slot as u32, *count)),
                _ => None,
            });
            let shared: Vec<(u32, u32)> = shared.collect();
            assert_eq!(self.index.refs(segment as u32), shared);
            assert_eq!(usize::from(summary.refs), shared.len());
            assert_eq!(u32::from(summary.free) + bitmap.count_all(), BLOCKS_PER_SEGMENT);
        }
    }

    /// The process dies: what is left is the index and the log after its cut.
    fn crash(&mut self) {
        self.allocator = Allocator::new(CONFIG, self.index.summaries()).unwrap();
        (self.checkpoint, self.reads) = (Checkpoint::None, Vec::new());
        (self.in_flight, self.allocated) = (Vec::new(), Vec::new());
        self.blocks = self.base.clone();
        for op in self.log.clone() {
            self.apply(op);
        }
        self.released = Seq(self.log.iter().fold(self.released.0, |low, op| match op {
            Op::Free(seq, _) => low.min(seq.0 - 1),
            _ => low,
        }));
        self.list_allocated();
    }

    fn list_allocated(&mut self) {
        self.allocated.clear();
        for (at, block) in self.blocks.iter().enumerate() {
            let (segment, slot) = segment_slot(at as u64);
            match (block, self.allocated.last_mut()) {
                (Block::Used(_), Some(last)) if range(*last).end == at && slot > 0 => last.blocks += 1,
                (Block::Used(_), _) => {
                    self.allocated.push(Run { at: Pba::of_block(segment, slot), blocks: 1 });
                }
                _ => (),
            }
        }
    }

    fn check_counters(&self) {
        let count = |is: fn(&Block) -> bool| self.blocks.iter().filter(|b| is(b)).count() as u64;
        let allocated = count(|b| matches!(b, Block::Used(_)));
        let expected = Space {
            capacity: BLOCKS as u64,
            allocated,
            free: BLOCKS as u64 - allocated,
            quarantined: count(|b| matches!(b, Block::Quarantine(_))),
            in_flight: count(|b| *b == Block::Flight),
            unready: 0,
            allocatable: count(|b| *b == Block::Free),
        };
        assert_eq!(self.allocator.space(), expected);
    }
}

fn alloc(allocator: &mut Allocator, blocks: u32, purpose: Purpose) -> Result<Vec<Run>, AllocError> {
    let mut runs = Vec::new();
    allocator.alloc(blocks, purpose, &mut runs).map(|()| runs)
}

#[test]
fn no_block_is_ever_handed_out_twice_and_the_index_agrees_with_the_model() {
    for seed in 0..12 {
        let mut world = World::new(seed);
        for step in 0..1500 {
            match world.dice.below(100) {
                0..30 => world.alloc(),
                30..55 => world.commit_alloc(),
                55..75 => world.commit_free(),
                75..83 => world.change_ref(),
                83..88 => world.release(),
                88..91 => world.step_checkpoint(),
                91..99 => world.install(),
                _ if world.dice.below(3) == 0 => world.crash(),
                _ => world.read_wanted(),
            }
            if step % 25 == 0 {
                world.check_counters();
            }
        }
        assert!(world.log.len() > 10 || world.seq.0 > 400, "the run did something");
    }
}

fn small(segments: u32) -> Allocator {
    let summaries = (0..segments).map(|_| Summary::empty(SegmentState::READY));
    Allocator::new(AllocConfig { reserve_blocks: 0, ref_entries: 100 }, summaries).unwrap()
}

fn open_all(allocator: &mut Allocator) {
    for segment in allocator.wants() {
        let cut = allocator.cut();
        assert!(allocator.install(segment, Bitmap::new(), cut).unwrap());
    }
}

#[test]
fn allocations_are_contiguous_and_fill_one_segment_after_the_other() {
    let mut allocator = small(5);
    assert_eq!(alloc(&mut allocator, 1, Purpose::Write), Err(AllocError::NotReady));
    open_all(&mut allocator);
    assert_eq!(allocator.wants(), []);
    let run = |segment, slot, blocks| Run { at: Pba::of_block(segment, slot), blocks };
    assert_eq!(alloc(&mut allocator, 100, Purpose::Write), Ok(vec![run(0, 0, 100)]));
    assert_eq!(alloc(&mut allocator, 16300, Purpose::Write), Ok(vec![run(0, 100, 16284), run(1, 0, 16)]));
    assert_eq!(allocator.wants(), [3]);
}

#[test]
fn a_stale_bitmap_is_refused_and_asked_for_again() {
    let mut allocator = small(1);
    assert_eq!(allocator.wants(), [0]);
    let cut = allocator.cut();
    allocator.commit_alloc(Run { at: Pba::of_block(0, 7), blocks: 2 }).unwrap();
    allocator.freeze();
    allocator.drop_frozen();
    assert_eq!(allocator.install(0, Bitmap::new(), cut), Ok(false));
    assert_eq!(allocator.wants(), [0]);
}

#[test]
fn a_bitmap_that_disagrees_with_its_count_retires_the_segment() {
    let mut allocator = small(2);
    assert_eq!(allocator.wants(), [0, 1]);
    let mut wrong = Bitmap::new();
    wrong.set(9, 1, true);
    assert!(allocator.install(0, wrong, allocator.cut()).is_err());
    assert!(!allocator.state(0).unwrap().usable);
    assert_eq!(allocator.wants(), []);
    assert_eq!(allocator.space().unready, u64::from(BLOCKS_PER_SEGMENT));
    let full = alloc(&mut allocator, BLOCKS_PER_SEGMENT + 1, Purpose::Write);
    assert_eq!(full, Err(AllocError::NoSpace { allocatable: 16384, quarantined: 0 }));
}

#[test]
fn space_that_is_not_zeroed_yet_is_waited_for() {
    let raw = SegmentState { zeroed: false, ..SegmentState::READY };
    let mut allocator = small(0);
    allocator.add_segments([Summary::empty(raw)]).unwrap();
    assert_eq!(alloc(&mut allocator, 1, Purpose::Write), Err(AllocError::NotReady));
    assert_eq!(allocator.wants(), []);
    allocator.set_state(0, SegmentState::READY);
    open_all(&mut allocator);
    assert!(alloc(&mut allocator, 1, Purpose::Write).is_ok());
}

#[test]
fn runs_that_are_not_blocks_of_the_pool_are_damage() {
    let mut allocator = small(1);
    let mut runs = vec![Run { at: Pba::new(3), blocks: 1 }, Run { at: Pba::of_block(1, 0), blocks: 1 }];
    runs.push(Run { at: Pba::of_block(0, 16383), blocks: 2 });
    runs.extend([0, u32::MAX].map(|blocks| Run { at: Pba::of_block(0, 5), blocks }));
    for run in runs {
        assert!(allocator.commit_alloc(run).is_err());
        assert!(allocator.commit_free(Seq(1), run).is_err());
    }
    assert!(allocator.ref_change(Pba::of_block(9, 0), 0, 1).is_err());
    assert!(allocator.ref_change(Pba::new(Pba::LIMIT - 1), 0, 1).is_err());
}
