//! Promises of the superblock: its golden bytes, and what becomes of every wrong one.

use super::*;

/// A state with every field in use; the golden file holds it.
fn sample() -> Superblock {
    let member =
        |ordinal: u8, len| Member { ordinal: Ordinal(ordinal), id: DeviceId([0xd0 + ordinal; 16]), len };
    let range = |first, device, offset: u64, blocks| SegmentRange {
        first,
        device: Ordinal(device),
        offset: offset << 20,
        blocks,
    };
    Superblock {
        device: DeviceId([0xd2; 16]),
        ordinal: Ordinal(2),
        role: Role::Member,
        pool: PoolState {
            id: PoolId::from_random(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210),
            name: PoolName::new("schnell-é").unwrap(),
            features: Features { compatible: 5, read_only_compatible: 6, incompatible: 0 },
            generation: 41,
            journal: JournalMark {
                incarnation: 7,
                ring: Ring { device: Ordinal(0), offset: 1 << 20, len: 256 << 20 },
                tail: Tail { offset: 12 << 9, next: Seq(900), predecessor: 0xc0ff_ee00 },
                flushed: Seq(1000),
            },
            members: vec![member(0, 4 << 30), member(2, 20 << 30)],
            segments: vec![range(0, 0, 257, 60_000), range(4, 2, 257, 100_000), range(11, 0, 512, 9)],
        },
    }
}

/// `bytes` with `change` made and the checksum set right again.
fn resealed(change: impl FnOnce(&mut [u8; SUPERBLOCK_LEN])) -> [u8; SUPERBLOCK_LEN] {
    let mut bytes = sample().encode();
    change(&mut bytes);
    let crc = crate::crc32c(&bytes[field::CHECKED]);
    bytes[field::CRC].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn damage(bytes: &[u8; SUPERBLOCK_LEN]) -> &'static str {
    match Superblock::decode(bytes) {
        Err(SuperblockFault::Damaged { what }) => what,
        other => panic!("expected damage, found {other:?}"),
    }
}

#[test]
fn superblock_keeps_its_golden_bytes() {
    let golden = include_bytes!("../../golden/superblock-v1.bin");
    assert!(sample().encode() == *golden);
    assert_eq!(Superblock::decode(golden), Ok(sample()));
}

#[test]
fn every_flipped_bit_of_a_superblock_is_found() {
    let mut bytes = sample().encode();
    for bit in 0..SUPERBLOCK_LEN * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Superblock::decode(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn bytes_with_a_right_checksum_decode_exactly_or_not_at_all() {
    for bit in 12 * 8..SUPERBLOCK_LEN * 8 {
        let bytes = resealed(|b| b[bit / 8] ^= 1 << (bit % 8));
        if let Ok(superblock) = Superblock::decode(&bytes) {
            assert_eq!(superblock.encode(), bytes, "bit {bit}");
        }
    }
    for at in (12..SUPERBLOCK_LEN - 8).step_by(4) {
        let bytes = resealed(|b| b[at..at + 8].fill(0xff));
        if let Ok(superblock) = Superblock::decode(&bytes) {
            assert_eq!(superblock.encode(), bytes, "byte {at}");
        }
    }
}

#[test]
fn a_newer_format_is_named_and_not_taken_for_damage() {
    let newer =
        |found, incompatible| Err(SuperblockFault::NewerFormat { found, supported: VERSION, incompatible });
    let version = resealed(|b| b[field::VERSION].copy_from_slice(&[2, 0]));
    assert_eq!(Superblock::decode(&version), newer(2, 0));
    let feature = resealed(|b| b[field::INCOMPATIBLE.start] = 0x10);
    assert_eq!(Superblock::decode(&feature), newer(1, 0x10));
    // Another release's idea of the rest is not looked at.
    let strange = resealed(|b| b[field::VERSION.start..].fill(0xff));
    assert_eq!(Superblock::decode(&strange), newer(u16::MAX, u64::MAX));
}

#[test]
fn a_superblock_that_contradicts_itself_is_damaged() {
    assert_eq!(damage(&resealed(|b| b[field::ORDINAL] = 1)), "the member table does not list its own device");
    assert_eq!(damage(&resealed(|b| b[field::RING_DEVICE] = 1)), "the ring is on no member");
    assert_eq!(damage(&resealed(|b| b[field::RING_LEN].fill(0xff))), "the ring is too long");
    assert_eq!(
        damage(&resealed(|b| b[field::RING_LEN].copy_from_slice(&(257u64 << 20).to_le_bytes()))),
        "the ring overlaps a segment range"
    );
    assert_eq!(
        damage(&resealed(|b| b.copy_within(field::SEGMENTS.start + 24..4072, field::SEGMENTS.start + 48))),
        "segment numbers are out of order or out of bounds"
    );
    assert_eq!(damage(&resealed(|b| b[4095] = 1)), "a segment range is empty or not aligned");
    assert_eq!(damage(&resealed(|b| b[field::NAME_LEN] = 65)), "the pool's name is too long");
}

#[test]
fn other_bytes_are_not_ours() {
    assert_eq!(Superblock::decode(&[0; SUPERBLOCK_LEN]), Err(SuperblockFault::NotOurs));
    assert_eq!(Superblock::decode(&[0xff; SUPERBLOCK_LEN]), Err(SuperblockFault::NotOurs));
}

#[test]
fn the_largest_pool_fits_a_superblock() {
    let mut superblock = sample();
    superblock.pool.name = PoolName::new(&"n".repeat(PoolName::MAX)).unwrap();
    superblock.pool.members = (0..MEMBERS_MAX as u8)
        .map(|n| Member { ordinal: Ordinal(n), id: DeviceId([0xd0 ^ n; 16]), len: 1 << 40 })
        .collect();
    superblock.pool.segments = (0..RANGES_MAX as u32)
        .map(|n| SegmentRange {
            first: n * 3,
            device: Ordinal(n as u8 % 64),
            offset: (300 + u64::from(n) * 64) << 20,
            blocks: 16384,
        })
        .collect();
    superblock.device = DeviceId([0xd2; 16]);
    assert_eq!(Superblock::decode(&superblock.encode()), Ok(superblock));
}
