//! Commands and their answers: order, data, residuals (RFC 7143 4.2.2, 11.3, 11.4, 11.7; protocol rule 9).

use super::*;
use crate::lun::LogicalUnit;
use crate::mem::Hang;

#[test]
fn data_and_status_come_together() {
    let mut peer = Peer::logged_in("").settle();
    let read = peer.read(0, 8);
    peer.send(Request::ScsiCommand(read), &[]);
    let answer = peer.one();
    let data = answer.data_in();
    assert_eq!((data.last, data.good, data.task), (true, Some(Residual::None), read.task));
    assert_eq!(answer.data, vec![0; 4096]);
    peer.close();
}

#[test]
fn long_answers_keep_to_segments_and_bursts() {
    let mut peer = Peer::logged_in("MaxRecvDataSegmentLength=4096 MaxBurstLength=10240").settle();
    let read = peer.read(0, 48);
    peer.send(Request::ScsiCommand(read), &[]);
    let pieces: Vec<(u32, u32, usize, bool, bool)> = peer
        .receive()
        .iter()
        .map(|pdu| {
            let piece = pdu.data_in();
            (piece.data_sn, piece.offset, pdu.data.len(), piece.last, piece.good.is_some())
        })
        .collect();
    let expected = [
        (0, 0, 4096, false, false),
        (1, 4096, 4096, false, false),
        (2, 8192, 2048, true, false),
        (3, 10240, 4096, false, false),
        (4, 14336, 4096, false, false),
        (5, 18432, 2048, true, false),
        (6, 20480, 4096, true, true),
    ];
    assert_eq!(pieces, expected);
}

#[test]
fn residuals_tell_what_was_not_moved() {
    let mut peer = Peer::logged_in("").settle();
    // More room than data, less room than data, no room at all.
    for (expected, moved, residual) in [
        (8192, 4096, Residual::Underflow(4096)),
        (1024, 1024, Residual::Overflow(3072)),
        (0, 0, Residual::Overflow(4096)),
    ] {
        let mut read = peer.read(0, 8);
        read.expected = expected;
        read.read = expected > 0;
        peer.send(Request::ScsiCommand(read), &[]);
        let answer = peer.one();
        if moved == 0 {
            assert_eq!((answer.response().status, answer.response().residual), (0, residual));
        } else {
            assert_eq!((answer.data.len(), answer.data_in().good), (moved, Some(residual)));
        }
    }
}

#[test]
fn a_failed_command_has_sense_data() {
    let mut peer = Peer::logged_in("").settle();
    let read = peer.read(u32::MAX - 8, 1);
    peer.send(Request::ScsiCommand(read), &[]);
    let answer = peer.one();
    assert_eq!((answer.response().status, answer.sense()), (2, (5, 0x21, 0)));
    assert_eq!(answer.data.len(), 2 + 18);
}

#[test]
fn digests_protect_both_ways() {
    let mut peer = Peer::logged_in("HeaderDigest=CRC32C DataDigest=CRC32C").settle();
    assert_eq!(peer.digests, Digests { header: true, data: true });
    let data = pattern(512, 1);
    let write = peer.write(3, 1);
    peer.send(Request::ScsiCommand(write), &data);
    assert_eq!(peer.one().response().status, 0);
    let read = peer.read(3, 1);
    peer.send(Request::ScsiCommand(read), &[]);
    assert_eq!(peer.one().data, data);
    // A header that is damaged ends the connection: where the next one starts is not known.
    let (bhs, _) = Request::ScsiCommand(peer.read(0, 1)).emit();
    let mut bytes = whole(bhs, &[], &[], peer.digests);
    bytes[20] ^= 1;
    peer.send_raw(&bytes);
    assert!(matches!(peer.ended(), Some(End::Frame(_))));
    peer.close();
}

#[test]
fn damaged_data_fails_its_command_alone() {
    let mut peer = Peer::logged_in("DataDigest=CRC32C InitialR2T=Yes ImmediateData=Yes").settle();
    let damaged = |peer: &Peer, request: Request, data: &[u8]| {
        let mut bytes = whole(request.emit().0, &[], data, peer.digests);
        bytes[50] ^= 1;
        bytes
    };
    // Immediate data: the command was never here, and may be sent again.
    let write = peer.write(0, 1);
    let bytes = damaged(&peer, Request::ScsiCommand(write), &pattern(512, 1));
    peer.send_raw(&bytes);
    assert_eq!(peer.one().rejected(), RejectReason::DataDigest);
    peer.send(Request::ScsiCommand(write), &pattern(512, 1));
    assert_eq!(peer.one().response().status, 0);
    // Solicited data: the command fails.
    let write = peer.write(8, 1);
    peer.send(Request::ScsiCommand(write), &[]);
    let r2t = peer.one().r2t();
    let piece = Peer::piece(&write, Some(r2t.transfer), 0, 0);
    let bytes = damaged(&peer, Request::DataOut(piece), &pattern(512, 1));
    peer.send_raw(&bytes);
    let answers = peer.receive();
    assert_eq!(answers[0].rejected(), RejectReason::DataDigest);
    assert_eq!((answers[1].response().status, answers[1].sense()), (2, (0xb, 0x47, 0x05)));
    assert_eq!(peer.content(8 * 512, 512), vec![0; 512]);
    peer.close();
}

#[test]
fn commands_act_in_the_order_of_their_numbers() {
    let mut peer = Peer::logged_in("").settle();
    let first = peer.write(0, 1);
    let second = peer.write(0, 1);
    let third = peer.read(0, 1);
    peer.send(Request::ScsiCommand(third), &[]);
    peer.send(Request::ScsiCommand(second), &pattern(512, 2));
    assert_eq!(peer.receive().len(), 0, "the first is missing");
    peer.send(Request::ScsiCommand(first), &pattern(512, 1));
    let answers = peer.receive();
    assert_eq!(answers[0].response().task, first.task);
    assert_eq!(answers[1].response().task, second.task);
    assert_eq!(answers[2].data, pattern(512, 2));
    peer.close();
}

#[test]
fn numbers_outside_of_the_window_are_ignored() {
    let mut peer = Peer::logged_in("").settle();
    let mut read = peer.read(0, 1);
    let right = read.order.cmd_sn;
    for wrong in [right.plus(128), right.plus(u32::MAX), right.plus(1 << 31)] {
        read.order.cmd_sn = wrong;
        peer.send(Request::ScsiCommand(read), &[]);
        assert_eq!(peer.receive().len(), 0);
    }
    read.order.cmd_sn = right;
    peer.send(Request::ScsiCommand(read), &[]);
    assert_eq!(peer.one().data_in().window.exp_cmd_sn, right.plus(1));
    peer.send(Request::ScsiCommand(read), &[]);
    assert_eq!(peer.receive().len(), 0, "the same again");
}

#[test]
fn no_more_than_128_commands_are_in_progress() {
    let mut peer = Peer::logged_in("").settle();
    peer.world.disk.hang(Hang::Queued);
    let before = peer.world.disk.calls();
    for _ in 0..140 {
        let read = peer.read(0, 1);
        peer.send(Request::ScsiCommand(read), &[]);
    }
    peer.driver.run();
    assert!(peer.world.disk.calls() - before <= 128);
    peer.world.disk.hang(Hang::Not);
    peer.driver.run();
    let answers = peer.receive();
    assert_eq!(answers.len(), 128);
    let windows: Vec<u32> = answers.iter().map(|pdu| pdu.data_in().window.max_cmd_sn.0).collect();
    assert!(windows.is_sorted(), "the window never shrinks");
    assert_eq!(peer.world.disk.len(), DISK);
    peer.close();
}

#[test]
fn a_tag_in_use_is_rejected() {
    let mut peer = Peer::logged_in("").settle();
    let write = peer.write(0, 1);
    peer.send(Request::ScsiCommand(write), &[]);
    let r2t = peer.one().r2t();
    let mut other = peer.read(0, 1);
    other.task = write.task;
    peer.send(Request::ScsiCommand(other), &[]);
    assert_eq!(peer.one().rejected(), RejectReason::TaskInProgress);
    let piece = Peer::piece(&write, Some(r2t.transfer), 0, 0);
    peer.send(Request::DataOut(piece), &pattern(512, 1));
    let answer = peer.one().response();
    assert_eq!((answer.status, answer.window.exp_cmd_sn), (0, peer.cmd_sn), "its number was used up");
    peer.close();
}

#[test]
fn what_is_not_supported_is_rejected_and_the_session_goes_on() {
    let mut peer = Peer::logged_in("").settle();
    peer.send(Request::Snack(SnackRequest), &[]);
    assert_eq!(peer.one().rejected(), RejectReason::Protocol);
    let mut both = peer.read(0, 1);
    both.write = true;
    peer.send(Request::ScsiCommand(both), &[]);
    let rejected = peer.one();
    assert_eq!(rejected.rejected(), RejectReason::NotSupported);
    assert_eq!(rejected.data, Request::ScsiCommand(both).emit().0, "its header comes back");
    let mut bhs = [0; 48];
    bhs[0] = 0x1c;
    peer.send_raw(&whole(bhs, &[], &[], Digests::default()));
    assert_eq!(peer.one().rejected(), RejectReason::NotSupported);
    let read = peer.read(0, 1);
    peer.send(Request::ScsiCommand(read), &[]);
    assert_eq!(peer.one().data.len(), 512);
}

#[test]
fn immediate_commands_take_no_number_and_are_bounded() {
    let mut peer = Peer::logged_in("").settle();
    peer.world.disk.hang(Hang::Queued);
    for n in 0..10 {
        let mut read = peer.read(0, 1);
        peer.cmd_sn = read.order.cmd_sn;
        read.order.immediate = true;
        peer.send(Request::ScsiCommand(read), &[]);
        let answers = peer.receive();
        if n < 8 {
            assert!(answers.is_empty());
        } else {
            assert_eq!(answers[0].rejected(), RejectReason::Immediate);
        }
    }
    peer.world.disk.hang(Hang::Not);
    peer.driver.run();
    assert_eq!(peer.receive().len(), 8);
    peer.close();
}

#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    let mut peer = Peer::logged_in("MaxRecvDataSegmentLength=262144").settle();
    let mut sent = 0;
    while peer.driver.session.wants_input() {
        let read = peer.read(0, 2048);
        peer.send(Request::ScsiCommand(read), &[]);
        sent += 1;
        assert!(sent < 100, "what waits is bounded");
    }
    assert!(peer.world.budget.available() > MEMORY / 2);
    peer.pass(9);
    assert_eq!(peer.ended(), None);
    peer.pass(20);
    assert_eq!(peer.ended(), Some(End::Stalled));
    peer.driver.take_output();
    peer.close();
}
