//! The life of a session: pings, news, logout, the end (RFC 7143 11.9, 11.14, 11.18; protocol rules 6, 8,
//! 14).

use super::*;
use crate::mem::Hang;
use crate::scsi::inventory::Inventory;
use crate::session::limits;

fn logout(peer: &mut Peer, reason: LogoutReason, cid: u16) -> LogoutResponse {
    let (order, task) = (peer.order(), peer.tag());
    peer.send(Request::Logout(LogoutRequest { order, reason, task, cid: Cid(cid) }), &[]);
    let answer = peer.one();
    assert_eq!(answer.opcode(), 0x26);
    let response = LogoutResponse::parse(&answer.bhs).expect("a logout response");
    assert_eq!(response.task, task);
    response
}

#[test]
fn a_ping_is_answered_with_its_data() {
    let mut peer = Peer::logged_in("HeaderDigest=CRC32C").settle();
    let (order, task) = (peer.immediate(), Some(peer.tag()));
    peer.send(Request::NopOut(NopOut { order, lun: LunField([0; 8]), task, transfer: None }), b"hello");
    let answer = peer.one();
    assert_eq!((answer.opcode(), &answer.data[..]), (0x20, &b"hello"[..]));
    let nop = NopIn::parse(&answer.bhs);
    assert_eq!((nop.task, nop.transfer), (task, None));
    let (order, task) = (peer.order(), Some(peer.tag()));
    peer.send(Request::NopOut(NopOut { order, lun: LunField([0; 8]), task, transfer: None }), &[]);
    assert_eq!(NopIn::parse(&peer.one().bhs).window.exp_cmd_sn, peer.cmd_sn, "this one took a number");
    peer.close();
}

#[test]
fn pings_that_nobody_reads_are_bounded() {
    for data in [vec![], vec![7; 100_000]] {
        let mut peer = Peer::logged_in("MaxRecvDataSegmentLength=262144").settle();
        let mut sent = 0;
        while peer.driver.session.wants_input() {
            let (order, task) = (peer.immediate(), Some(peer.tag()));
            peer.send(Request::NopOut(NopOut { order, lun: LunField([0; 8]), task, transfer: None }), &data);
            sent += 1;
            assert!(sent < 1000, "what waits is bounded");
        }
        assert!(peer.driver.session.output().unpermitted() <= 64 << 10);
        assert_eq!(peer.world.budget.available() < MEMORY, !data.is_empty(), "large data is counted");
        assert_eq!(peer.receive().len(), sent);
        peer.close();
    }
}

/// As many INQUIRYs as one reading of a socket can bring: each is a short request with a long answer.
fn flood(peer: &mut Peer) -> usize {
    let mut bytes = Vec::new();
    let mut count = 0;
    while bytes.len() < 64 << 10 {
        let inquiry = peer.command(&[0x12, 0, 0, 0, 255, 0], true, false, 255);
        let (bhs, ahs) = Request::ScsiCommand(inquiry).emit();
        bytes.extend(whole(bhs, &ahs, &[], peer.digests));
        count += 1;
    }
    peer.send_raw(&bytes);
    count
}

#[test]
fn a_peer_that_asks_and_does_not_listen_is_held_to_its_bounds() {
    let mut peer = Peer::logged_in("").settle();
    let asked = flood(&mut peer);
    let session = &peer.driver.session;
    assert!(!session.wants_input() && session.ended().is_none());
    assert!(session.output().unpermitted() <= limits::OUTPUT_UNPERMITTED + 1024);
    assert!(peer.world.budget.available() < MEMORY, "the requests that wait are counted");
    assert_eq!(peer.receive().len(), asked, "all are answered when it listens");
    assert!(peer.driver.session.wants_input());
    peer.close();
}

#[test]
fn a_peer_that_asks_and_does_not_listen_ends_where_memory_does() {
    let mut peer = Peer::of(World::new(DISK, 32 << 10, None)).log_in("").settle();
    flood(&mut peer);
    assert_eq!(peer.ended(), Some(End::Stalled));
}

#[test]
fn a_silent_peer_is_asked_and_then_given_up() {
    let mut peer = Peer::logged_in("").settle();
    peer.pass(9);
    assert_eq!(peer.receive().len(), 0);
    peer.pass(1);
    let ping = NopIn::parse(&peer.one().bhs);
    assert!(ping.task.is_none() && ping.transfer.is_some());
    let order = peer.immediate();
    peer.send(Request::NopOut(NopOut { order, lun: ping.lun, task: None, transfer: ping.transfer }), &[]);
    assert_eq!(peer.receive().len(), 0);
    peer.pass(10);
    assert!(NopIn::parse(&peer.one().bhs).transfer.is_some());
    peer.pass(9);
    assert_eq!(peer.ended(), None);
    peer.pass(1);
    assert_eq!(peer.ended(), Some(End::Silent));
    peer.close();
}

#[test]
fn logout_ends_the_session_when_nothing_runs_any_more() {
    let mut peer = Peer::logged_in("").settle();
    peer.world.disk.hang(Hang::Ordered);
    let write = peer.write(0, 1);
    peer.send(Request::ScsiCommand(write), &pattern(512, 1));
    let (order, task) = (peer.order(), peer.tag());
    let bye = LogoutRequest { order, reason: LogoutReason::CloseSession, task, cid: Cid(1) };
    peer.send(Request::Logout(bye), &[]);
    assert_eq!(peer.receive().len(), 0, "a write may still take effect");
    let read = peer.read(0, 1);
    peer.send(Request::ScsiCommand(read), &[]);
    peer.world.disk.hang(Hang::Not);
    peer.driver.run();
    let answer = peer.one();
    let response = LogoutResponse::parse(&answer.bhs).expect("a logout response");
    assert_eq!((response.result, response.wait, response.retain), (LogoutResult::Closed, 2, 0));
    assert_eq!(peer.ended(), Some(End::Logout));
    peer.close();
}

#[test]
fn a_connection_that_is_not_there_is_not_logged_out() {
    let mut peer = Peer::logged_in("").settle();
    let other = logout(&mut peer, LogoutReason::CloseConnection, 9);
    assert_eq!(other.result, LogoutResult::CidNotFound);
    let recovery = logout(&mut peer, LogoutReason::RemoveForRecovery, 1);
    assert_eq!(recovery.result, LogoutResult::RecoveryNotSupported);
    assert_eq!(peer.ended(), None);
    assert_eq!(logout(&mut peer, LogoutReason::CloseConnection, 1).result, LogoutResult::Closed);
    assert_eq!(peer.ended(), Some(End::Logout));
}

#[test]
fn a_changed_lun_inventory_is_told() {
    let mut peer = Peer::logged_in("").settle();
    peer.world.give(None, &[0, 1]);
    peer.driver.run();
    let news = peer.one();
    assert_eq!(news.event(), AsyncEvent::Scsi);
    assert_eq!(news.sense(), (6, 0x3f, 0x0e));
    peer.close();
}

#[test]
fn a_host_that_is_gone_loses_its_session() {
    let mut peer = Peer::logged_in("").settle();
    {
        let mut apply = std::pin::pin!(peer.world.target.apply(Inventory::default()));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..10 {
            if std::future::Future::poll(apply.as_mut(), &mut cx).is_ready() {
                break;
            }
            peer.driver.run();
        }
    }
    peer.driver.run();
    assert_eq!(peer.one().event(), AsyncEvent::DropSession { wait: 2, retain: 0 });
    assert_eq!(peer.ended(), Some(End::Withdrawn));
    peer.close();
}

#[test]
fn a_server_that_stops_asks_for_logout_and_waits_three_seconds() {
    let mut peer = Peer::logged_in("").settle();
    peer.driver.session.ask_to_leave(peer.driver.now);
    peer.driver.session.ask_to_leave(peer.driver.now);
    assert_eq!(peer.one().event(), AsyncEvent::LogoutRequest { within: 3 });
    let read = peer.read(0, 1);
    peer.send(Request::ScsiCommand(read), &[]);
    assert_eq!(peer.one().data.len(), 512, "until then it works");
    peer.pass(2);
    assert_eq!(peer.ended(), None);
    peer.pass(1);
    assert_eq!(peer.ended(), Some(End::Stopped));
    peer.close();
}

#[test]
fn after_the_end_nothing_more_is_executed() {
    let mut peer = Peer::logged_in("").settle();
    let (order, task) = (peer.order(), peer.tag());
    let bye = LogoutRequest { order, reason: LogoutReason::CloseSession, task, cid: Cid(1) };
    let mut bytes = whole(Request::Logout(bye).emit().0, &[], &[], Digests::default());
    let write = peer.write(0, 1);
    bytes.extend(whole(Request::ScsiCommand(write).emit().0, &[], &pattern(512, 1), Digests::default()));
    peer.send_raw(&bytes);
    assert_eq!(peer.receive().len(), 1);
    assert_eq!(peer.content(0, 512), vec![0; 512]);
    peer.close();
}

#[test]
fn a_login_in_full_feature_phase_is_rejected() {
    let mut peer = Peer::logged_in("").settle();
    let answer = peer.login(Stage::Operational, Some(Stage::FullFeature), &names());
    assert_eq!(answer.rejected(), RejectReason::Protocol);
    assert_eq!(peer.ended(), None);
}

#[test]
fn nobody_speaks_before_the_login_is_answered() {
    let mut peer = Peer::new();
    let order = peer.immediate();
    let request = LoginRequest {
        order,
        more: false,
        stage: Stage::Operational,
        next: Some(Stage::FullFeature),
        version_max: 0,
        version_min: 0,
        isid: Isid([1; 6]),
        tsih: Tsih(0),
        task: TaskTag(1),
        cid: Cid(1),
    };
    let text = names().replace(' ', "\0");
    let mut bytes = whole(request.emit(), &[], text.as_bytes(), Digests::default());
    bytes.extend([0; 48]);
    peer.send_raw(&bytes);
    assert!(peer.ended().is_some());
    assert!(!peer.driver.session.is_full_feature());
    peer.close();
}
