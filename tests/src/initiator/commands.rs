//! Commands, their data, and task management.

use super::cdb;
use super::handshake::{Handshake, Refused, Who};
use super::link::{Gone, Link, Pdu};
use rustc_hash::FxHashMap;
use san_iscsi::scsi::command::{Cdb, LunField, TaskAttribute};
use san_iscsi::wire::{
    DataIn, DataOut, NopIn, NopOut, Order, R2t, Request, ScsiCommand, ScsiResponse, Sn, TaskFunction,
    TaskManagementRequest, TaskManagementResponse, TaskManagementResult, TaskTag, Tsih,
};
use std::collections::VecDeque;

/// Bytes of one Data-Out PDU, so that a transfer has several.
const PIECE: usize = 64 << 10;

/// What a command moves.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Nothing.
    None,
    /// So many bytes from the target, at most.
    In(u32),
    /// These bytes to the target.
    Out(&'a [u8]),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// SAM's status code.
    pub status: u8,
    /// Key, code and qualifier, with a check condition.
    pub sense: Option<(u8, u8, u8)>,
    /// What came.
    pub data: Vec<u8>,
}

impl Answer {
    /// Whether the status is GOOD.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.status == 0
    }

    /// Whether the status is BUSY.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.status == 8
    }
}

/// A command, or a task management request, that the target has not answered.
#[derive(Default)]
struct Open {
    out: Vec<u8>,
    data_in: Vec<u8>,
    /// R2Ts that nobody has answered: kept for the test if it wants to answer them itself.
    by_hand: bool,
    r2ts: VecDeque<R2t>,
    answer: Option<Answer>,
    managed: Option<TaskManagementResult>,
}

/// A session.
pub struct Initiator {
    /// Its connection.
    pub link: Link,
    /// The target's name for it.
    pub tsih: Tsih,
    /// What came and was about no task: asynchronous messages and rejects.
    pub asides: Vec<Pdu>,
    cmd_sn: Sn,
    stat_sn: Sn,
    last_tag: u32,
    open: FxHashMap<TaskTag, Open>,
}

impl Initiator {
    /// Logs in at a port of this machine.
    ///
    /// # Errors
    /// The target refuses, or goes away.
    pub fn login(port: u16, target: &str, who: &Who<'_>) -> Result<Initiator, Refused> {
        Initiator::login_over(Link::connect(port), target, who)
    }

    /// Logs in over a connection.
    ///
    /// # Errors
    /// The target refuses, or goes away.
    pub fn login_over(link: Link, target: &str, who: &Who<'_>) -> Result<Initiator, Refused> {
        let mut handshake = Handshake::new(link, who.isid);
        let tsih = handshake.complete(target, who)?;
        let (link, stat_sn) = (handshake.link, handshake.stat_sn);
        let (asides, open) = (Vec::new(), FxHashMap::default());
        Ok(Initiator { link, tsih, asides, cmd_sn: Sn(1), stat_sn, last_tag: 1, open })
    }

    /// Takes the unit attentions of a LUN, so that the next command is executed.
    ///
    /// # Panics
    /// When the target goes away, or the unit is never ready.
    pub fn settle(&mut self, lun: u16) {
        for _ in 0..8 {
            if self.run(lun, &cdb::READY, Data::None).expect("an answer").is_good() {
                return;
            }
        }
        panic!("the unit is not ready");
    }

    fn tag(&mut self) -> TaskTag {
        self.last_tag += 1;
        TaskTag(self.last_tag)
    }

    fn order(&mut self) -> Order {
        Order { immediate: false, cmd_sn: self.cmd_sn.take(), exp_stat_sn: self.stat_sn }
    }

    /// The PDU of a new command, which is not sent; its data is sent when it is asked for.
    #[must_use]
    pub fn command(&mut self, lun: u16, block: &[u8], data: Data<'_>) -> ScsiCommand {
        let (task, order) = (self.tag(), self.order());
        let (read, write, expected) = match data {
            Data::None => (false, false, 0),
            Data::In(len) => (true, false, len),
            Data::Out(bytes) => (false, true, bytes.len() as u32),
        };
        let out = if let Data::Out(bytes) = data { bytes.to_vec() } else { Vec::new() };
        self.open.insert(task, Open { out, ..Open::default() });
        ScsiCommand {
            order,
            last: true,
            read,
            write,
            attribute: TaskAttribute::Simple,
            lun: LunField::from_number(lun),
            task,
            expected,
            cdb: Cdb::from_bytes(block),
        }
    }

    /// Sends a command.
    pub fn start(&mut self, lun: u16, block: &[u8], data: Data<'_>) -> TaskTag {
        let command = self.command(lun, block, data);
        self.link.send(&Request::ScsiCommand(command), &[]);
        command.task
    }

    /// Sends a command whose R2Ts the test answers itself.
    pub fn start_by_hand(&mut self, lun: u16, block: &[u8], data: Data<'_>) -> TaskTag {
        let task = self.start(lun, block, data);
        self.open.entry(task).or_default().by_hand = true;
        task
    }

    /// Sends a command and waits for its end.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn run(&mut self, lun: u16, block: &[u8], data: Data<'_>) -> Result<Answer, Gone> {
        let task = self.start(lun, block, data);
        self.finish(task)
    }

    /// Waits for the end of a command.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn finish(&mut self, task: TaskTag) -> Result<Answer, Gone> {
        loop {
            if let Some(answer) = self.open.get_mut(&task).and_then(|open| open.answer.take()) {
                self.open.remove(&task);
                return Ok(answer);
            }
            self.pump()?;
        }
    }

    /// The end of a command, if it was heard of already.
    #[must_use]
    pub fn heard(&self, task: TaskTag) -> Option<&Answer> {
        self.open.get(&task)?.answer.as_ref()
    }

    /// Waits for an R2T of a command that was started by hand.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn r2t(&mut self, task: TaskTag) -> Result<R2t, Gone> {
        loop {
            if let Some(r2t) = self.open.get_mut(&task).and_then(|open| open.r2ts.pop_front()) {
                return Ok(r2t);
            }
            self.pump()?;
        }
    }

    /// The PDUs that answer an R2T.
    #[must_use]
    pub fn pieces(&self, r2t: &R2t) -> Vec<Vec<u8>> {
        let whole = &self.open[&r2t.task].out[r2t.offset as usize..][..r2t.len as usize];
        let count = whole.len().div_ceil(PIECE);
        let piece = |(n, bytes): (usize, &[u8])| {
            let pdu = DataOut {
                task: r2t.task,
                transfer: Some(r2t.transfer),
                last: n + 1 == count,
                data_sn: n as u32,
                offset: r2t.offset + (n * PIECE) as u32,
                exp_stat_sn: self.stat_sn,
            };
            self.link.encode(&Request::DataOut(pdu), bytes)
        };
        whole.chunks(PIECE).enumerate().map(piece).collect()
    }

    /// Answers an R2T.
    pub fn send_data(&mut self, r2t: &R2t) {
        for piece in self.pieces(r2t) {
            self.link.send_raw(&piece);
        }
    }

    /// Sends a task management request, ahead of all commands.
    pub fn start_managing(&mut self, function: TaskFunction, lun: u16, referenced: TaskTag) -> TaskTag {
        let order = Order { immediate: true, cmd_sn: self.cmd_sn, exp_stat_sn: self.stat_sn };
        let task = self.tag();
        self.open.insert(task, Open::default());
        let lun = LunField::from_number(lun);
        let ref_cmd_sn = Sn(self.cmd_sn.0.wrapping_sub(1));
        let request = TaskManagementRequest { order, function, lun, task, referenced, ref_cmd_sn };
        self.link.send(&Request::TaskManagement(request), &[]);
        task
    }

    /// Waits for the end of a task management function.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn managed(&mut self, task: TaskTag) -> Result<TaskManagementResult, Gone> {
        loop {
            if let Some(result) = self.open.get(&task).and_then(|open| open.managed) {
                self.open.remove(&task);
                return Ok(result);
            }
            self.pump()?;
        }
    }

    /// Has a task management function done.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn manage(
        &mut self,
        function: TaskFunction,
        lun: u16,
        referenced: TaskTag,
    ) -> Result<TaskManagementResult, Gone> {
        let task = self.start_managing(function, lun, referenced);
        self.managed(task)
    }

    /// Forgets a command: it was aborted, and will not be answered.
    pub fn forget(&mut self, task: TaskTag) {
        self.open.remove(&task);
    }

    /// Takes one PDU of the target, and does what it asks for.
    ///
    /// # Errors
    /// The connection is gone.
    ///
    /// # Panics
    /// When it makes no sense.
    pub fn pump(&mut self) -> Result<(), Gone> {
        let pdu = self.link.receive()?;
        match pdu.opcode() {
            0x20 => self.on_ping(&pdu),
            0x21 => {
                let response = ScsiResponse::parse(&pdu.bhs).expect("a response");
                self.stat_sn = response.window.stat_sn.plus(1);
                let sense = (pdu.data.len() >= 16).then(|| (pdu.data[4] & 0xf, pdu.data[14], pdu.data[15]));
                self.answer(response.task, response.status, sense);
            }
            0x22 => {
                let response = TaskManagementResponse::parse(&pdu.bhs).expect("a response");
                self.stat_sn = response.window.stat_sn.plus(1);
                let open = self.open.get_mut(&response.task).expect("it was asked for");
                open.managed = Some(response.result);
            }
            0x25 => {
                let piece = DataIn::parse(&pdu.bhs).expect("data");
                let open = self.open.get_mut(&piece.task).expect("it was asked for");
                assert_eq!(piece.offset as usize, open.data_in.len(), "data comes in order");
                open.data_in.extend_from_slice(&pdu.data);
                if piece.good.is_some() {
                    self.stat_sn = piece.window.stat_sn.plus(1);
                    self.answer(piece.task, 0, None);
                }
            }
            0x31 => {
                let r2t = R2t::parse(&pdu.bhs).expect("an R2T");
                let open = self.open.get_mut(&r2t.task).expect("it asks for a command's data");
                if open.by_hand {
                    open.r2ts.push_back(r2t);
                } else {
                    self.send_data(&r2t);
                }
            }
            _ => self.asides.push(pdu),
        }
        Ok(())
    }

    fn answer(&mut self, task: TaskTag, status: u8, sense: Option<(u8, u8, u8)>) {
        let open = self.open.get_mut(&task).expect("an answer is to something that was asked");
        let data = std::mem::take(&mut open.data_in);
        open.answer = Some(Answer { status, sense, data });
    }

    fn on_ping(&mut self, pdu: &Pdu) {
        let ping = NopIn::parse(&pdu.bhs);
        if ping.transfer.is_some() {
            let order = Order { immediate: true, cmd_sn: self.cmd_sn, exp_stat_sn: self.stat_sn };
            let answer = NopOut { order, lun: ping.lun, task: None, transfer: ping.transfer };
            self.link.send(&Request::NopOut(answer), &[]);
        }
    }
}
