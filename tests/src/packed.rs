//! Whole files in one small one: what golden images of pools are kept in. Zeroes are counted, not kept.
//!
//! A file is `name length u16 | name | length u64`, then, until it is full, `zeroes u32 | bytes u32 | bytes`;
//! little-endian, up to the end.

use std::fs;
use std::io;
use std::path::Path;

/// Zeroes from which on they are counted.
const GAP: usize = 32;

/// Appends the file at `path` to `packed`, under `name`.
///
/// # Errors
/// It cannot be read.
pub fn pack(path: &Path, name: &str, packed: &mut Vec<u8>) -> io::Result<()> {
    let content = fs::read(path)?;
    packed.extend((name.len() as u16).to_le_bytes());
    packed.extend(name.as_bytes());
    packed.extend((content.len() as u64).to_le_bytes());
    let mut rest = &content[..];
    while !rest.is_empty() {
        let zeroes = rest.iter().take_while(|byte| **byte == 0).count();
        let (_, behind) = rest.split_at(zeroes);
        let gap = |window: &[u8]| window.iter().all(|byte| *byte == 0);
        let bytes = behind.windows(GAP).position(gap).unwrap_or(behind.len());
        packed.extend((zeroes as u32).to_le_bytes());
        packed.extend((bytes as u32).to_le_bytes());
        packed.extend(&behind[..bytes]);
        rest = &behind[bytes..];
    }
    Ok(())
}

/// Makes the files that were packed, in `dir`.
///
/// # Errors
/// They cannot be written.
///
/// # Panics
/// When this is not what [`pack`] makes.
pub fn unpack(mut packed: &[u8], dir: &Path) -> io::Result<()> {
    fn number<const N: usize>(packed: &mut &[u8]) -> [u8; N] {
        let (number, rest) = packed.split_first_chunk().expect("it does not end within a number");
        *packed = rest;
        *number
    }
    fn take<'a>(packed: &mut &'a [u8], len: usize) -> &'a [u8] {
        let (taken, rest) = packed.split_at(len);
        *packed = rest;
        taken
    }
    while !packed.is_empty() {
        let len = u16::from_le_bytes(number(&mut packed));
        let name = String::from_utf8(take(&mut packed, len.into()).to_vec()).expect("a file's name");
        let len = u64::from_le_bytes(number(&mut packed)) as usize;
        let mut content = Vec::with_capacity(len);
        while content.len() < len {
            let zeroes = u32::from_le_bytes(number(&mut packed)) as usize;
            let bytes = u32::from_le_bytes(number(&mut packed)) as usize;
            content.resize(content.len() + zeroes, 0);
            content.extend(take(&mut packed, bytes));
        }
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("it lies in `dir`"))?;
        fs::write(path, content)?;
    }
    Ok(())
}
