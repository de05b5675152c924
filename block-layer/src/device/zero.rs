//! Zeroes ahead of use: a flush behind a write into space of a file that was never written has to commit the
//! file system's metadata too, which costs it up to twice the time.

use super::{Buf, Disk};
use crate::error::DiskError;

/// Bytes written at a time: little enough that other I/O is not held up for long.
const PIECE: u64 = 512 << 10;

/// Writes zeroes to the bytes `from..to` of `disk`, if that makes flushes cheaper there.
///
/// # Errors
/// What the device says.
pub(crate) async fn zero_ahead(disk: &dyn Disk, from: u64, to: u64) -> Result<(), DiskError> {
    if !disk.geometry().sparse || from >= to {
        return Ok(());
    }
    let zeroes = Buf::zeroed(PIECE as usize).freeze();
    let mut at = from;
    while at < to {
        let len = PIECE.min(to - at);
        disk.write(at, vec![zeroes.slice(..len as usize)]).await?;
        at += len;
    }
    Ok(())
}
