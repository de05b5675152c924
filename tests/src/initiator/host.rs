//! What a host does with a LUN: it writes whole blocks of one byte, reads them, flushes, and is patient.

use super::{cdb, Answer, Data, Gone, Initiator, Refused, Who};
use crate::daemon::Daemon;
use san_iscsi::wire::TaskTag;
use std::time::{Duration, Instant};

/// The initiator that [`san`] gives LUN 0 to.
pub const ME: &str = "iqn.2026-11.io.test:me";
/// Logical blocks (512 bytes) of one write: a whole block of storage.
pub const BLOCKS: u16 = 8;
/// Bytes of one write.
pub const LEN: usize = 512 * BLOCKS as usize;
/// How long a state that must come may take to come.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Gives a new daemon a pool of 1 GiB, and a volume of 64 MiB that [`ME`] sees as LUN 0.
#[must_use]
pub fn san(daemon: Daemon) -> Daemon {
    daemon.cli("pool create fast --device disk:1G");
    daemon.cli("volume create fast/db --size 64M");
    daemon.cli(&format!("host create me --iqn {ME} --network 127.0.0.0/8"));
    daemon.cli("lun map fast/db --host me");
    daemon
}

/// Logs [`ME`] in through portal `nth`, unit attentions taken; through one portal each `isid` is a session.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn login(daemon: &Daemon, nth: usize, isid: u16) -> Initiator {
    let mut session = try_login(daemon, nth, isid).expect("a login");
    session.settle(0);
    session
}

/// As [`login`], which may be refused; unit attentions are left.
///
/// # Errors
/// The target refuses, or goes away.
pub fn try_login(daemon: &Daemon, nth: usize, isid: u16) -> Result<Initiator, Refused> {
    Initiator::login(daemon.ports[nth], &daemon.target(), &Who { isid, ..Who::named(ME) })
}

/// Writes blocks from `lba` on.
///
/// # Errors
/// The connection is gone.
pub fn try_write(session: &mut Initiator, lba: u32, fill: u8) -> Result<Answer, Gone> {
    session.run(0, &cdb::write(lba, BLOCKS), Data::Out(&[fill; LEN]))
}

/// Writes blocks from `lba` on.
///
/// # Panics
/// When the connection is gone.
pub fn write(session: &mut Initiator, lba: u32, fill: u8) -> Answer {
    try_write(session, lba, fill).expect("an answer")
}

/// Reads what [`write`] writes.
///
/// # Panics
/// When the connection is gone.
pub fn read(session: &mut Initiator, lba: u32) -> Answer {
    session.run(0, &cdb::read(lba, BLOCKS), Data::In(LEN as u32)).expect("an answer")
}

/// Whether an answer is GOOD and has what [`write`] writes.
#[must_use]
pub fn holds(answer: &Answer, fill: u8) -> bool {
    answer.is_good() && answer.data == [fill; LEN]
}

/// SYNCHRONIZE CACHE.
///
/// # Panics
/// When the connection is gone.
pub fn flush(session: &mut Initiator) -> Answer {
    session.run(0, &cdb::FLUSH, Data::None).expect("an answer")
}

/// Sends a command with all of its data, and does not wait for its end.
///
/// # Panics
/// When its data is not asked for.
pub fn send(session: &mut Initiator, block: &[u8], data: &[u8]) -> TaskTag {
    let task = session.start_by_hand(0, block, Data::Out(data));
    let r2t = session.r2t(task).expect("its data is asked for");
    session.send_data(&r2t);
    task
}

/// Whether a host tries again by itself after such an answer.
#[must_use]
pub fn is_transient(answer: &Answer) -> bool {
    let aborted = answer.status == 0x40;
    answer.is_busy() || aborted || matches!(answer.sense, Some((2, 4, 1) | (6 | 0xb, _, _)))
}

/// Repeats what is refused for now, as a host does.
///
/// # Panics
/// When it is refused for too long.
pub fn until_taken(mut attempt: impl FnMut() -> Answer) -> Answer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = attempt();
        if !is_transient(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "still {answer:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
