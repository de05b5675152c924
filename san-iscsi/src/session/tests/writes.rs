//! Data-Out: immediate, unsolicited and solicited (RFC 7143 11.7, 11.8; protocol rules 9 and 16).

use super::*;
use crate::scsi::limits::TRANSFER_MAX;

/// Answers R2Ts with `data` until the command ends.
fn supply(peer: &mut Peer, write: &ScsiCommand, data: &[u8]) -> (Vec<(u32, u32)>, Pdu) {
    let mut asked = Vec::new();
    loop {
        let answers = peer.receive();
        for pdu in answers {
            if pdu.opcode() != 0x31 {
                return (asked, pdu);
            }
            let r2t = pdu.r2t();
            assert_eq!(r2t.r2t_sn as usize, asked.len());
            asked.push((r2t.offset, r2t.len));
            let (start, end) = (r2t.offset as usize, (r2t.offset + r2t.len) as usize);
            let (half, rest) = data[start..end].split_at(r2t.len as usize / 2);
            let first = DataOut { last: false, ..Peer::piece(write, Some(r2t.transfer), 0, r2t.offset) };
            peer.send(Request::DataOut(first), half);
            let second = Peer::piece(write, Some(r2t.transfer), 1, r2t.offset + half.len() as u32);
            peer.send(Request::DataOut(second), rest);
        }
    }
}

#[test]
fn immediate_data_is_enough_for_a_small_write() {
    let mut peer = Peer::logged_in("ImmediateData=Yes").settle();
    let write = peer.write(1, 8);
    peer.send(Request::ScsiCommand(write), &pattern(4096, 3));
    let answer = peer.one().response();
    assert_eq!((answer.status, answer.residual, answer.task), (0, Residual::None, write.task));
    assert_eq!(peer.content(512, 4096), pattern(4096, 3));
    peer.close();
}

#[test]
fn the_rest_is_asked_for_and_never_exceeds_max_burst() {
    for (keys, outstanding) in [("MaxBurstLength=4096", 1), ("MaxBurstLength=4096 MaxOutstandingR2T=9", 4)] {
        let mut peer = Peer::logged_in(keys).settle();
        let data = pattern(20_480, 4);
        let write = peer.write(0, 40);
        peer.send(Request::ScsiCommand(write), &data[..1024]);
        let first = peer.driver.take_output();
        assert_eq!(first.len(), 48 * outstanding, "so many are outstanding");
        let mut framer = Framer::new(0);
        std::mem::swap(&mut framer, &mut peer.framer);
        // Read again what was looked at.
        let mut answered = Vec::new();
        let mut input = &first[..];
        while let Ok(Step::Head(head)) = framer.feed(&mut input) {
            framer.start_body(Sink::Discard);
            let _ = framer.feed(&mut input);
            answered.push(R2t::parse(&head.bhs).expect("an R2T"));
        }
        peer.framer = framer;
        for r2t in &answered {
            let piece = Peer::piece(&write, Some(r2t.transfer), 0, r2t.offset);
            let bytes = &data[r2t.offset as usize..(r2t.offset + r2t.len) as usize];
            assert!(r2t.len <= 4096);
            peer.send(Request::DataOut(piece), bytes);
        }
        let (_, end) = {
            let mut asked = answered.len();
            loop {
                let mut end = None;
                for pdu in peer.receive() {
                    if pdu.opcode() == 0x21 {
                        end = Some(pdu);
                        continue;
                    }
                    let r2t = pdu.r2t();
                    assert_eq!(r2t.r2t_sn as usize, asked);
                    asked += 1;
                    let piece = Peer::piece(&write, Some(r2t.transfer), 0, r2t.offset);
                    let bytes = &data[r2t.offset as usize..(r2t.offset + r2t.len) as usize];
                    peer.send(Request::DataOut(piece), bytes);
                }
                if let Some(end) = end {
                    break (asked, end);
                }
            }
        };
        assert_eq!((end.response().status, end.response().exp_data_sn), (0, 5));
        assert_eq!(peer.content(0, 20_480), data);
        peer.close();
    }
}

#[test]
fn without_immediate_data_everything_is_asked_for() {
    let mut peer = Peer::logged_in("ImmediateData=No InitialR2T=Yes MaxBurstLength=65536").settle();
    let data = pattern(100 * 512, 5);
    let write = peer.write(7, 100);
    peer.send(Request::ScsiCommand(write), &[]);
    let (asked, end) = supply(&mut peer, &write, &data);
    assert_eq!(asked, [(0, 51_200)]);
    assert_eq!(end.response().status, 0);
    assert_eq!(peer.content(7 * 512, 51_200), data);
    peer.close();
}

#[test]
fn unsolicited_data_comes_before_the_first_r2t() {
    let mut peer = Peer::logged_in("InitialR2T=No FirstBurstLength=4096 MaxBurstLength=8192").settle();
    let data = pattern(16_384, 6);
    let mut write = peer.write(0, 32);
    write.last = false;
    peer.send(Request::ScsiCommand(write), &data[..1024]);
    assert_eq!(peer.receive().len(), 0, "data comes by itself");
    let piece = DataOut { last: false, ..Peer::piece(&write, None, 0, 1024) };
    peer.send(Request::DataOut(piece), &data[1024..2048]);
    assert_eq!(peer.receive().len(), 0);
    peer.send(Request::DataOut(Peer::piece(&write, None, 1, 2048)), &data[2048..4096]);
    let (asked, end) = supply(&mut peer, &write, &data);
    assert_eq!(asked, [(4096, 8192), (12_288, 4096)]);
    assert_eq!(end.response().status, 0);
    assert_eq!(peer.content(0, 16_384), data);
    peer.close();
}

#[test]
fn data_that_was_not_agreed_on_fails_the_command() {
    // Immediate data where there is none; too much of it; unsolicited data where there is none.
    for (keys, immediate, last) in
        [("ImmediateData=No", 512, true), ("FirstBurstLength=512", 1024, true), ("InitialR2T=Yes", 0, false)]
    {
        let mut peer = Peer::logged_in(keys).settle();
        let mut write = peer.write(0, 4);
        write.last = last;
        peer.send(Request::ScsiCommand(write), &pattern(immediate, 7));
        if !last {
            assert_eq!(peer.receive().len(), 0, "no status overtakes data");
            peer.send(Request::DataOut(Peer::piece(&write, None, 0, 0)), &pattern(512, 7));
        }
        let answer = peer.one();
        assert_eq!((answer.response().status, answer.sense()), (2, (0xb, 0x0c, 0x0c)), "{keys}");
        assert_eq!(peer.content(0, 2048), vec![0; 2048]);
        peer.close();
    }
}

#[test]
fn data_out_of_order_fails_the_command_after_its_last_piece() {
    let change: [fn(&mut DataOut); 3] = [|p| p.data_sn = 5, |p| p.offset = 512, |p| p.offset = u32::MAX];
    for change in change {
        let mut peer = Peer::logged_in("").settle();
        let write = peer.write(0, 8);
        peer.send(Request::ScsiCommand(write), &[]);
        let r2t = peer.one().r2t();
        let mut piece = DataOut { last: false, ..Peer::piece(&write, Some(r2t.transfer), 0, 0) };
        change(&mut piece);
        peer.send(Request::DataOut(piece), &pattern(512, 8));
        assert_eq!(peer.receive().len(), 0);
        peer.send(Request::DataOut(Peer::piece(&write, Some(r2t.transfer), 1, 512)), &pattern(3584, 8));
        let answer = peer.one();
        assert_eq!((answer.response().status, answer.sense()), (2, (0xb, 0x0c, 0x0d)));
        assert_eq!(peer.content(0, 4096), vec![0; 4096]);
        peer.close();
    }
}

#[test]
fn a_transfer_tag_that_was_not_given_is_rejected() {
    let mut peer = Peer::logged_in("").settle();
    let write = peer.write(0, 1);
    peer.send(Request::ScsiCommand(write), &[]);
    let r2t = peer.one().r2t();
    let wrong = Peer::piece(&write, Some(TransferTag(r2t.transfer.0 + 1)), 0, 0);
    peer.send(Request::DataOut(wrong), &pattern(512, 1));
    assert_eq!(peer.one().rejected(), RejectReason::Protocol);
    peer.send(Request::DataOut(Peer::piece(&write, Some(r2t.transfer), 0, 0)), &pattern(512, 2));
    assert_eq!(peer.one().response().status, 0);
    assert_eq!(peer.content(0, 512), pattern(512, 2));
}

#[test]
fn data_for_a_task_that_is_not_there_is_thrown_away() {
    let mut peer = Peer::logged_in("").settle();
    let write = peer.write(0, 1);
    peer.cmd_sn = write.order.cmd_sn;
    peer.send(Request::DataOut(Peer::piece(&write, Some(TransferTag(1)), 0, 0)), &pattern(512, 1));
    assert_eq!(peer.receive().len(), 0);
    assert_eq!(peer.ended(), None);
}

#[test]
fn a_segment_longer_than_declared_ends_the_connection() {
    let mut peer = Peer::logged_in("").settle();
    let write = peer.write(0, 1024);
    let mut bytes = whole(Request::ScsiCommand(write).emit().0, &[], &[], Digests::default());
    bytes[5..8].copy_from_slice(&[0x04, 0x00, 0x01]);
    peer.send_raw(&bytes);
    assert!(matches!(peer.ended(), Some(End::Frame(_))));
    peer.close();
}

#[test]
fn a_write_beyond_the_limit_is_refused_before_its_data() {
    let mut peer = Peer::logged_in("").settle();
    let blocks = (TRANSFER_MAX / 512 + 8) as u16;
    let write = peer.write(0, blocks);
    peer.send(Request::ScsiCommand(write), &[]);
    let answer = peer.one();
    assert_eq!((answer.response().status, answer.sense()), (2, (5, 0x24, 0)));
    peer.close();
}

#[test]
fn without_memory_a_write_waits_and_then_is_busy() {
    let mut peer = Peer::of(World::new(DISK, 16 << 10, None)).log_in("").settle();
    let held = peer.world.budget.try_take(16 << 10).expect("all of it");
    // What came with the command has no place: nothing was done, and the initiator tries again.
    let write = peer.write(0, 1);
    peer.send(Request::ScsiCommand(write), &pattern(512, 1));
    assert_eq!(peer.one().response().status, 8);
    // What was not sent yet is not asked for before there is room.
    let write = peer.write(0, 8);
    peer.send(Request::ScsiCommand(write), &[]);
    let read = peer.read(0, 8);
    peer.send(Request::ScsiCommand(read), &[]);
    assert_eq!(peer.receive().len(), 0);
    peer.pass(1);
    assert_eq!(peer.receive().len(), 0);
    peer.pass(1);
    let statuses: Vec<u8> = peer.receive().iter().map(|pdu| pdu.response().status).collect();
    assert_eq!(statuses, [8, 8]);
    drop(held);
    let write = peer.write(0, 8);
    peer.send(Request::ScsiCommand(write), &[]);
    let (_, end) = supply(&mut peer, &write, &pattern(4096, 2));
    assert_eq!(end.response().status, 0);
    assert_eq!(peer.world.budget.available(), 16 << 10);
}

#[test]
fn a_peer_that_does_not_send_what_it_was_asked_for_is_dropped() {
    let mut peer = Peer::logged_in("").settle();
    let write = peer.write(0, 8);
    peer.send(Request::ScsiCommand(write), &[]);
    peer.one().r2t();
    for _ in 0..5 {
        peer.pass(5);
        let sign = NopOut { order: peer.immediate(), lun: LunField([0; 8]), task: None, transfer: None };
        peer.send(Request::NopOut(sign), &[]);
        assert_eq!(peer.ended(), None, "it lives");
    }
    peer.pass(5);
    assert_eq!(peer.ended(), Some(End::Stalled));
    peer.close();
}
