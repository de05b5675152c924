//! What the fuzzers feed: PDUs, login text, and the whole machine of a session.
//!
//! Each takes any bytes, and panics only over a fault of ours. They run in `make fuzz` and, over a corpus, in
//! the ordinary tests.

use crate::mem::Hang;
use crate::session::driver::{Driver, World, TARGET};
use crate::wire::digest::Digests;
use crate::wire::frame::{whole, Framer, Sink, Step};
use crate::wire::text::{self, binary, number};
use crate::wire::{
    AsyncMessage, Bhs, Cid, DataIn, Isid, LoginRequest, LoginResponse, LogoutResponse, NopIn, Order, R2t,
    Reject, Request, ScsiResponse, Sn, Stage, TaskManagementResponse, TaskTag, TextResponse, Tsih, BHS_LEN,
};
use std::time::{Duration, Instant};

const DISK: u64 = 1 << 20;
const MEMORY: usize = 8 << 20;
const INITIATOR: &str = "iqn.2026-11.io.ashlar:initiator";

/// A header with what follows it: what is accepted is written as it was understood.
pub fn pdu(data: &[u8]) {
    let Some((bhs, ahs)) = data.split_first_chunk::<BHS_LEN>() else { return };
    if let Ok(request) = Request::parse(bhs, ahs) {
        let (bhs, ahs) = request.emit();
        assert_eq!(Request::parse(&bhs, &ahs), Ok(request));
    }
    answers(bhs);
    let mut framer = Framer::new(4096);
    let mut input = data;
    while let Ok(step) = framer.feed(&mut input) {
        match step {
            Step::More => break,
            Step::Head(head) => framer.start_body(match head.bhs[0] & 1 {
                0 => Sink::Discard,
                _ => Sink::Text(Vec::new()),
            }),
            Step::Body(..) => {}
        }
    }
}

fn answers(bhs: &Bhs) {
    macro_rules! check {
        ($($pdu:ty),*) => {$(
            if let Ok(pdu) = <$pdu>::parse(bhs) {
                assert_eq!(<$pdu>::parse(&pdu.emit()), Ok(pdu));
            }
        )*};
    }
    check!(
        AsyncMessage,
        DataIn,
        LoginResponse,
        LogoutResponse,
        R2t,
        Reject,
        ScsiResponse,
        TaskManagementResponse,
        TextResponse
    );
    assert_eq!(NopIn::parse(&NopIn::parse(bhs).emit()), NopIn::parse(bhs));
}

/// Login text: alone, and as the keys of a login that says who it is.
pub fn login_text(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    for (_, value) in text::parse(rest).unwrap_or_default() {
        let _ = (number(value), binary(value, 64));
    }
    let world = World::new(DISK, MEMORY, None);
    let mut driver = Driver::new(&world, Instant::now());
    let stage = if first & 1 == 0 { Stage::Security } else { Stage::Operational };
    let next = match first & 2 {
        0 => None,
        _ if first & 4 == 0 && stage == Stage::Security => Some(Stage::Operational),
        _ => Some(Stage::FullFeature),
    };
    let mut keys = format!("InitiatorName={INITIATOR}\0TargetName={TARGET}\0").into_bytes();
    keys.extend_from_slice(rest);
    keys.truncate(8192);
    driver.feed(&login(stage, next, &keys));
    driver.feed(&login(Stage::Operational, Some(Stage::FullFeature), b""));
    assert!(driver.close());
    assert_eq!(world.budget.available(), MEMORY);
}

fn login(stage: Stage, next: Option<Stage>, keys: &[u8]) -> Vec<u8> {
    let request = LoginRequest {
        order: Order { immediate: true, cmd_sn: Sn(1), exp_stat_sn: Sn(0) },
        more: false,
        stage,
        next,
        version_max: 0,
        version_min: 0,
        isid: Isid([1; 6]),
        tsih: Tsih(0),
        task: TaskTag(1),
        cid: Cid(1),
    };
    whole(request.emit(), &[], keys, Digests::default())
}

/// A session: the bytes are steps, each of a kind, a length and so many bytes.
///
/// | kind | step |
/// |---|---|
/// | 0 | bytes as they are |
/// | 1 | a PDU: header, then data; its lengths and number are made right |
/// | 2 | seconds pass |
/// | 3 | the disk hangs, or works again |
/// | 4 | what waits is sent |
/// | other | a login |
pub fn session(data: &[u8]) {
    let world = World::new(DISK, MEMORY, None);
    let mut driver = Driver::new(&world, Instant::now());
    let mut expected = [0, 0, 0, 1];
    let mut rest = data;
    while let [kind, len, more @ ..] = rest {
        let (step, after) = more.split_at(usize::from(*len).min(more.len()));
        rest = after;
        match kind % 6 {
            0 => driver.feed(step),
            1 => driver.feed(&made_right(step, expected)),
            2 => driver.pass(Duration::from_secs(u64::from(*len))),
            3 => world.disk.hang([Hang::Not, Hang::Queued, Hang::Ordered][usize::from(*len) % 3]),
            4 => expected = last_expected(&driver.take_output()).unwrap_or(expected),
            _ => {
                let mut keys = format!("InitiatorName={INITIATOR}\0TargetName={TARGET}\0").into_bytes();
                keys.extend_from_slice(step);
                driver.feed(&login(Stage::Operational, Some(Stage::FullFeature), &keys));
            }
        }
        driver.run();
    }
    world.disk.hang(Hang::Not);
    driver.take_output();
    assert!(driver.close(), "a command is left");
    assert_eq!(world.budget.available(), MEMORY, "memory is left");
}

/// A PDU out of a step: without additional headers, its length that of its data, its number the one that has
/// its turn.
fn made_right(step: &[u8], expected: [u8; 4]) -> Vec<u8> {
    let (header, data) = step.split_at(step.len().min(BHS_LEN));
    let mut bhs = [0; BHS_LEN];
    bhs[..header.len()].copy_from_slice(header);
    bhs[24..28].copy_from_slice(&expected);
    whole(bhs, &[], data, Digests::default())
}

/// ExpCmdSN of the last PDU that was sent without digests.
fn last_expected(output: &[u8]) -> Option<[u8; 4]> {
    let (mut framer, mut input, mut last) = (Framer::new(1 << 24), output, None);
    while let Ok(step) = framer.feed(&mut input) {
        match step {
            Step::More => break,
            Step::Head(head) => {
                last = Some([head.bhs[28], head.bhs[29], head.bhs[30], head.bhs[31]]);
                framer.start_body(Sink::Discard);
            }
            Step::Body(..) => {}
        }
    }
    last
}
