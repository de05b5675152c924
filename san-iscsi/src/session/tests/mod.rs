//! Sessions by their bytes: what an initiator sends, and what comes back.
//!
//! One file a subject; this one has the initiator's side.

mod commands;
mod life;
mod login;
mod management;
mod text;
mod writes;

use super::driver::{Driver, World, TARGET};
use super::End;
use crate::scsi::command::{Cdb, LunField, TaskAttribute, CDB_MAX};
use crate::wire::digest::Digests;
use crate::wire::frame::{whole, Framer, Sink, Step};
use crate::wire::*;
use std::time::{Duration, Instant};

/// The one host's name.
const INITIATOR: &str = "iqn.2026-11.io.ashlar:initiator";
const DISK: u64 = 16 << 20;
const MEMORY: usize = 64 << 20;

/// A PDU of the target.
#[derive(Debug, Clone)]
struct Pdu {
    bhs: Bhs,
    data: Vec<u8>,
}

impl Pdu {
    fn opcode(&self) -> u8 {
        self.bhs[0]
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).trim_end_matches('\0').replace('\0', " ")
    }

    fn login(&self) -> LoginResponse {
        assert_eq!(self.opcode(), 0x23, "{self:?}");
        LoginResponse::parse(&self.bhs).expect("a login response")
    }

    fn response(&self) -> ScsiResponse {
        assert_eq!(self.opcode(), 0x21, "{self:?}");
        ScsiResponse::parse(&self.bhs).expect("a response")
    }

    fn r2t(&self) -> R2t {
        assert_eq!(self.opcode(), 0x31, "{self:?}");
        R2t::parse(&self.bhs).expect("an R2T")
    }

    fn data_in(&self) -> DataIn {
        assert_eq!(self.opcode(), 0x25, "{self:?}");
        DataIn::parse(&self.bhs).expect("data")
    }

    fn rejected(&self) -> RejectReason {
        assert_eq!(self.opcode(), 0x3f, "{self:?}");
        Reject::parse(&self.bhs).expect("a reject").reason
    }

    fn managed(&self) -> (TaskTag, TaskManagementResult) {
        assert_eq!(self.opcode(), 0x22, "{self:?}");
        let response = TaskManagementResponse::parse(&self.bhs).expect("a response");
        (response.task, response.result)
    }

    fn event(&self) -> AsyncEvent {
        assert_eq!(self.opcode(), 0x32, "{self:?}");
        AsyncMessage::parse(&self.bhs).expect("a message").event
    }

    /// Key, code and qualifier of the sense data.
    fn sense(&self) -> (u8, u8, u8) {
        (self.data[4], self.data[14], self.data[15])
    }
}

/// An initiator, and the session that it talks to.
struct Peer {
    world: World,
    driver: Driver,
    digests: Digests,
    framer: Framer,
    head: Option<Bhs>,
    cmd_sn: Sn,
    next_tag: u32,
    /// The status number that the next answer must have.
    stat_sn: Option<Sn>,
}

impl Peer {
    fn new() -> Peer {
        Peer::of(World::new(DISK, MEMORY, None))
    }

    fn of(world: World) -> Peer {
        let driver = Driver::new(&world, Instant::now());
        let framer = Framer::new(1 << 24);
        let (digests, cmd_sn) = (Digests::default(), Sn(100));
        Peer { world, driver, digests, framer, head: None, cmd_sn, next_tag: 1, stat_sn: None }
    }

    /// One that is logged in, with these keys besides the usual ones.
    fn logged_in(keys: &str) -> Peer {
        Peer::of(World::new(DISK, MEMORY, None)).log_in(keys)
    }

    fn log_in(mut self, keys: &str) -> Peer {
        let answer = self.login(Stage::Operational, Some(Stage::FullFeature), &format!("{} {keys}", names()));
        assert_eq!(answer.login().status, LoginStatus::Success, "{}", answer.text());
        let on = |key: &str| answer.text().contains(&format!("{key}Digest=CRC32C"));
        self.digests = Digests { header: on("Header"), data: on("Data") };
        self.framer.negotiated(self.digests, 1 << 24);
        self
    }

    /// Sends one login request, its keys parted by spaces.
    fn login(&mut self, stage: Stage, next: Option<Stage>, keys: &str) -> Pdu {
        self.login_with(|request| (request.stage, request.next) = (stage, next), keys)
    }

    fn login_with(&mut self, change: impl FnOnce(&mut LoginRequest), keys: &str) -> Pdu {
        let order = Order { immediate: true, cmd_sn: self.cmd_sn, exp_stat_sn: Sn(0) };
        let mut request = LoginRequest {
            order,
            more: false,
            stage: Stage::Security,
            next: None,
            version_max: 0,
            version_min: 0,
            isid: Isid([1; 6]),
            tsih: Tsih(0),
            task: TaskTag(1),
            cid: Cid(1),
        };
        change(&mut request);
        let text: String = keys.split_whitespace().map(|key| format!("{key}\0")).collect();
        self.send_raw(&whole(request.emit(), &[], text.as_bytes(), Digests::default()));
        let mut answers = self.receive();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0)
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        self.driver.feed(bytes);
    }

    fn send(&mut self, request: Request, data: &[u8]) {
        let (bhs, ahs) = request.emit();
        let bytes = whole(bhs, &ahs, data, self.digests);
        self.send_raw(&bytes);
    }

    /// What has come, its status numbers without a gap.
    fn receive(&mut self) -> Vec<Pdu> {
        let bytes = self.driver.take_output();
        let (mut input, mut pdus) = (&bytes[..], Vec::new());
        loop {
            match self.framer.feed(&mut input).expect("the target's framing is right") {
                Step::More => break,
                Step::Head(head) => {
                    self.head = Some(head.bhs);
                    self.framer.start_body(Sink::Text(Vec::new()));
                }
                Step::Body(Sink::Text(data), intact) => {
                    assert!(intact);
                    let bhs = self.head.take().expect("a header came first");
                    self.check_numbers(&bhs);
                    pdus.push(Pdu { bhs, data });
                }
                Step::Body(..) => unreachable!(),
            }
        }
        assert!(input.is_empty());
        pdus
    }

    fn check_numbers(&mut self, bhs: &Bhs) {
        let number = Sn(u32::from_be_bytes([bhs[24], bhs[25], bhs[26], bhs[27]]));
        let is_ping = bhs[0] == 0x20 && bhs[16..20] == [0xff; 4];
        let takes = !matches!(bhs[0], 0x31) && !is_ping && (bhs[0] != 0x25 || bhs[1] & 1 != 0);
        if let Some(expected) = self.stat_sn {
            assert_eq!(number, expected, "the status number of {bhs:02x?}");
        }
        self.stat_sn = Some(if takes { number.plus(1) } else { number });
    }

    fn one(&mut self) -> Pdu {
        let mut pdus = self.receive();
        assert_eq!(pdus.len(), 1, "{pdus:?}");
        pdus.remove(0)
    }

    fn order(&mut self) -> Order {
        Order { immediate: false, cmd_sn: self.cmd_sn.take(), exp_stat_sn: Sn(0) }
    }

    fn immediate(&mut self) -> Order {
        Order { immediate: true, cmd_sn: self.cmd_sn, exp_stat_sn: Sn(0) }
    }

    fn tag(&mut self) -> TaskTag {
        self.next_tag += 1;
        TaskTag(self.next_tag)
    }

    fn command(&mut self, cdb: &[u8], read: bool, write: bool, expected: u32) -> ScsiCommand {
        let mut bytes = [0; CDB_MAX];
        bytes[..cdb.len()].copy_from_slice(cdb);
        ScsiCommand {
            order: self.order(),
            last: true,
            read,
            write,
            attribute: TaskAttribute::Simple,
            lun: LunField([0; 8]),
            task: self.tag(),
            expected,
            cdb: Cdb(bytes),
        }
    }

    /// WRITE(10) of whole blocks.
    fn write(&mut self, lba: u32, blocks: u16) -> ScsiCommand {
        let cdb = cdb10(0x2a, lba, blocks);
        self.command(&cdb, false, true, u32::from(blocks) * 512)
    }

    /// READ(10) of whole blocks.
    fn read(&mut self, lba: u32, blocks: u16) -> ScsiCommand {
        let cdb = cdb10(0x28, lba, blocks);
        self.command(&cdb, true, false, u32::from(blocks) * 512)
    }

    fn management(&mut self, function: TaskFunction, referenced: TaskTag) -> TaskManagementRequest {
        let (order, task) = (self.immediate(), self.tag());
        let lun = LunField([0; 8]);
        TaskManagementRequest { order, function, lun, task, referenced, ref_cmd_sn: Sn(0) }
    }

    /// Clears the unit attention of a new nexus.
    fn settle(mut self) -> Peer {
        let ready = self.command(&[0; 6], false, false, 0);
        self.send(Request::ScsiCommand(ready), &[]);
        assert_eq!(self.one().sense(), (6, 0x29, 0), "a new nexus hears of it");
        self
    }

    fn piece(command: &ScsiCommand, transfer: Option<TransferTag>, data_sn: u32, offset: u32) -> DataOut {
        DataOut { task: command.task, transfer, last: true, data_sn, offset, exp_stat_sn: Sn(0) }
    }

    fn content(&self, offset: u64, len: u64) -> Vec<u8> {
        super::driver::content(&self.world.disk, offset, len).to_vec()
    }

    fn ended(&self) -> Option<End> {
        self.driver.session.ended()
    }

    fn pass(&mut self, seconds: u64) {
        self.driver.pass(Duration::from_secs(seconds));
    }

    /// Nothing is left of it: no command, no memory.
    fn close(self) {
        let world = self.world;
        assert!(self.driver.close(), "a command is left");
        assert_eq!(world.budget.available(), MEMORY, "memory is left");
    }
}

fn names() -> String {
    format!("InitiatorName={INITIATOR} TargetName={TARGET} SessionType=Normal")
}

fn cdb10(code: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let ([a, b, c, d], [e, f]) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [code, 0, a, b, c, d, 0, e, f, 0]
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 7) as u8 ^ (i as u8).wrapping_mul(31) ^ seed).collect()
}
