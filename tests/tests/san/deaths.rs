//! Connections that end in the middle of a transfer: at every border of a PDU and inside of each. The block
//! is then the old one or, if all of the command had come, the new one; never a mixture (P3), and the retry
//! over the other path is the last word (rule 2).

use super::storm::{wait_for, OWN};
use ashlar_tests::daemon::Daemon;
use ashlar_tests::initiator::host::{flush, holds, login, read, san, until_taken, write, ME};
use ashlar_tests::initiator::{cdb, Data, Initiator, Who};
use san_iscsi::wire::{DataOut, Request, Sn};

/// One write: immediate data, and seven pieces that come unasked.
const WHOLE: usize = 32 << 10;
const PIECE: usize = 4 << 10;
const BLOCKS: u16 = (WHOLE / 512) as u16;

/// The PDUs of a write that needs no R2T.
fn pdus(session: &mut Initiator, fill: u8) -> Vec<Vec<u8>> {
    let data = vec![fill; WHOLE];
    let mut command = session.command(0, &cdb::write(0, BLOCKS), Data::Out(&data));
    command.last = false;
    let mut pdus = vec![session.link.encode(&Request::ScsiCommand(command), &data[..PIECE])];
    for (n, bytes) in data[PIECE..].chunks(PIECE).enumerate() {
        let offset = ((n + 1) * PIECE) as u32;
        let last = offset as usize + PIECE == WHOLE;
        let (task, exp_stat_sn) = (command.task, Sn(0));
        let piece = DataOut { task, transfer: None, last, data_sn: n as u32, offset, exp_stat_sn };
        pdus.push(session.link.encode(&Request::DataOut(piece), bytes));
    }
    pdus
}

/// Where to stop: before and after each border, inside of headers and of data.
fn cuts(pdus: &[Vec<u8>]) -> Vec<usize> {
    let mut start = 0;
    let mut cuts = Vec::new();
    for pdu in pdus {
        cuts.extend([0, 1, 24, 47, 48, 49, 1000, pdu.len() - 1].map(|at| start + at));
        start += pdu.len();
    }
    cuts.push(start);
    cuts
}

#[test]
fn a_connection_may_die_anywhere_in_a_write() {
    let daemon = san(Daemon::start("deaths", 2));
    let mut second = login(&daemon, 1, 1);
    let keys = "InitialR2T=No ImmediateData=Yes FirstBurstLength=65536 HeaderDigest=CRC32C DataDigest=CRC32C";
    let who = Who { keys, ..Who::named(ME) };
    let (_, open) = daemon.footprint();
    let mut mixed = Vec::new();
    let count = {
        let mut first = Initiator::login(daemon.ports[0], &daemon.target(), &who).expect("a login");
        cuts(&pdus(&mut first, 1)).len()
    };
    for nth in 0..count {
        let all_old = [0x11; WHOLE];
        let old = second.run(0, &cdb::write(0, BLOCKS), Data::Out(&all_old)).expect("an answer");
        assert!(old.is_good(), "{old:?}");
        let mut first = Initiator::login(daemon.ports[0], &daemon.target(), &who).expect("a login");
        first.settle(0);
        let pdus = pdus(&mut first, 0x22);
        let (cut, bytes) = (cuts(&pdus)[nth], pdus.concat());
        first.link.send_raw(&bytes[..cut]);
        if nth % 2 == 0 {
            first.link.close_sending(); // a gentle end: all that was sent arrives
            while first.pump().is_ok() {}
        }
        drop(first);
        let found = second.run(0, &cdb::read(0, BLOCKS), Data::In(WHOLE as u32)).expect("an answer").data;
        let new = found == [0x22; WHOLE];
        if found != all_old && !(new && cut == bytes.len()) {
            mixed.push((cut, found[0], found[WHOLE - 1]));
        }
        // What comes later is the last word, whatever is still on its way.
        assert!(write(&mut second, 0, 0x33).is_good());
        assert!(flush(&mut second).is_good());
        assert!(holds(&read(&mut second, 0), 0x33), "cut at {cut}");
    }
    assert!(mixed.is_empty(), "{mixed:?}");
    wait_for(|| daemon.footprint().1 <= open + OWN, "descriptors come back");
}

#[test]
fn a_connection_may_die_while_it_is_sent_data() {
    let daemon = san(Daemon::start("death-in", 2));
    let mut second = login(&daemon, 1, 1);
    let (_, open) = daemon.footprint();
    for nth in 0..40 {
        let mut first = login(&daemon, 0, 1);
        for n in 0..8 {
            let _ = first.start(0, &cdb::read(n * 2048, 2048), Data::In(1 << 20));
        }
        for _ in 0..nth {
            first.pump().expect("data");
        }
        drop(first);
        // What the dead asked for may still be read, into memory that the living then wait for.
        assert!(until_taken(|| write(&mut second, 0, nth)).is_good());
    }
    wait_for(|| daemon.footprint().1 <= open + OWN, "descriptors come back");
}
