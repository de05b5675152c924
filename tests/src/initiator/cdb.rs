//! Command descriptor blocks (SBC-3, SPC-4), for blocks of 512 bytes.

/// TEST UNIT READY.
pub const READY: [u8; 6] = [0; 6];
/// SYNCHRONIZE CACHE(10) of everything.
pub const FLUSH: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An operation code, a block address and a count of blocks.
#[must_use]
pub fn ten(code: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let ([a, b, c, d], [e, f]) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [code, 0, a, b, c, d, 0, e, f, 0]
}

/// READ(10).
#[must_use]
pub fn read(lba: u32, blocks: u16) -> [u8; 10] {
    ten(0x28, lba, blocks)
}

/// WRITE(10).
#[must_use]
pub fn write(lba: u32, blocks: u16) -> [u8; 10] {
    ten(0x2a, lba, blocks)
}

/// WRITE(10) that is durable when it is answered.
#[must_use]
pub fn write_through(lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = write(lba, blocks);
    cdb[1] = 0x08;
    cdb
}

/// COMPARE AND WRITE.
#[must_use]
pub fn compare_and_write(lba: u32, blocks: u8) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = 0x89;
    cdb[6..10].copy_from_slice(&lba.to_be_bytes());
    cdb[13] = blocks;
    cdb
}

/// INQUIRY for standard data.
#[must_use]
pub fn inquiry(len: u8) -> [u8; 6] {
    [0x12, 0, 0, 0, len, 0]
}

/// REPORT LUNS.
#[must_use]
pub fn report_luns(len: u16) -> [u8; 12] {
    let [high, low] = len.to_be_bytes();
    [0xa0, 0, 0, 0, 0, 0, 0, 0, high, low, 0, 0]
}

/// PERSISTENT RESERVE OUT with a parameter list of 24 bytes: service action, and type.
#[must_use]
pub fn reserve_out(service: u8, kind: u8) -> [u8; 10] {
    [0x5f, service, kind, 0, 0, 0, 0, 0, 24, 0]
}

/// The parameter list of PERSISTENT RESERVE OUT.
#[must_use]
pub fn reserve_list(key: u64, service_key: u64, aptpl: bool) -> [u8; 24] {
    let mut list = [0; 24];
    list[..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&service_key.to_be_bytes());
    list[20] = u8::from(aptpl);
    list
}

/// PERSISTENT RESERVE IN with a service action.
#[must_use]
pub fn reserve_in(service: u8, len: u16) -> [u8; 10] {
    let [high, low] = len.to_be_bytes();
    [0x5e, service, 0, 0, 0, 0, 0, high, low, 0]
}
