//! Text exchanges: SendTargets and late keys (RFC 7143 11.10, appendix C; protocol rules 11 and 13).

use super::*;

fn discovery() -> Peer {
    let mut peer = Peer::new();
    let keys = format!("InitiatorName={INITIATOR} SessionType=Discovery");
    let answer = peer.login(Stage::Operational, Some(Stage::FullFeature), &keys);
    assert_eq!(answer.text(), "MaxRecvDataSegmentLength=262144", "no portal group in discovery");
    peer
}

fn ask(peer: &mut Peer, keys: &str) -> Pdu {
    let (order, task) = (peer.order(), peer.tag());
    let request = TextRequest { order, last: true, more: false, task, transfer: None };
    let text: String = keys.split_whitespace().map(|key| format!("{key}\0")).collect();
    peer.send(Request::Text(request), text.as_bytes());
    peer.one()
}

#[test]
fn discovery_lists_where_it_arrived_and_never_a_wildcard() {
    let mut peer = discovery();
    let all = format!("TargetName={TARGET} TargetAddress=10.0.0.1:3260,7 TargetAddress=10.0.0.1:3261,8");
    assert_eq!(ask(&mut peer, "SendTargets=All").text(), all);
    assert_eq!(ask(&mut peer, &format!("SendTargets={TARGET}")).text(), all);
    assert_eq!(ask(&mut peer, "SendTargets=iqn.2026-11.io.ashlar:other").text(), "");
    assert_eq!(ask(&mut peer, "SendTargets=").text(), "SendTargets=Reject");
}

#[test]
fn a_normal_session_asks_for_its_own_target_only() {
    let mut peer = Peer::logged_in("");
    assert!(ask(&mut peer, "SendTargets=").text().starts_with(&format!("TargetName={TARGET} ")));
    assert_eq!(ask(&mut peer, "SendTargets=All").text(), "SendTargets=Reject");
    peer.close();
}

#[test]
fn a_discovery_session_takes_no_commands() {
    let mut peer = discovery();
    let read = peer.read(0, 1);
    peer.send(Request::ScsiCommand(read), &[]);
    assert_eq!(peer.one().rejected(), RejectReason::Protocol);
    let reset = peer.management(TaskFunction::TargetWarmReset, TaskTag(0));
    peer.send(Request::TaskManagement(reset), &[]);
    assert_eq!(peer.one().rejected(), RejectReason::Protocol);
    let (order, task) = (peer.order(), peer.tag());
    let bye = LogoutRequest { order, reason: LogoutReason::CloseSession, task, cid: Cid(1) };
    peer.send(Request::Logout(bye), &[]);
    assert_eq!(peer.one().opcode(), 0x26);
    assert_eq!(peer.ended(), Some(End::Logout));
}

#[test]
fn a_long_answer_comes_in_pieces() {
    let mut peer = discovery();
    ask(&mut peer, "MaxRecvDataSegmentLength=512");
    let all = ask(&mut peer, "SendTargets=All").text();
    let mut small = Peer::new();
    let keys = format!("InitiatorName={INITIATOR} SessionType=Discovery MaxRecvDataSegmentLength=512");
    small.login(Stage::Operational, Some(Stage::FullFeature), &keys);
    // The smallest segment still holds all of it: many questions make a long answer.
    let (order, task) = (small.order(), small.tag());
    let mut request = TextRequest { order, last: true, more: false, task, transfer: None };
    small.send(Request::Text(request), "SendTargets=All\0".repeat(10).as_bytes());
    let mut text = String::new();
    loop {
        let answer = small.one();
        text.push_str(&String::from_utf8_lossy(&answer.data));
        let response = TextResponse::parse(&answer.bhs).expect("a text response");
        assert_eq!(response.more, !response.last);
        if response.last {
            break;
        }
        assert_eq!(answer.data.len(), 512);
        (request.order, request.transfer) = (small.order(), response.transfer);
        small.send(Request::Text(request), &[]);
    }
    assert_eq!(text.trim_end_matches('\0').replace('\0', " "), vec![all; 10].join(" "));
}

#[test]
fn a_question_may_come_in_pieces_and_is_bounded() {
    let mut peer = discovery();
    let (order, task) = (peer.order(), peer.tag());
    let mut request = TextRequest { order, last: false, more: true, task, transfer: None };
    peer.send(Request::Text(request), b"SendTar");
    let answer = peer.one();
    let response = TextResponse::parse(&answer.bhs).expect("a text response");
    assert_eq!((answer.data.len(), response.last), (0, false));
    request = TextRequest { order: peer.order(), last: true, more: false, transfer: response.transfer, task };
    peer.send(Request::Text(request), b"gets=All\0");
    assert!(peer.one().text().starts_with("TargetName="));

    request = TextRequest { order: peer.order(), last: false, more: true, task, transfer: None };
    peer.send(Request::Text(request), &[b'x'; 16 << 10]);
    let transfer = TextResponse::parse(&peer.one().bhs).expect("a text response").transfer;
    request = TextRequest { order: peer.order(), transfer, ..request };
    peer.send(Request::Text(request), b"y");
    assert_eq!(peer.one().rejected(), RejectReason::Protocol);
}

#[test]
fn a_tag_that_was_not_given_continues_nothing() {
    let mut peer = discovery();
    let (order, task) = (peer.order(), peer.tag());
    let transfer = Some(TransferTag(99));
    peer.send(Request::Text(TextRequest { order, last: true, more: false, task, transfer }), &[]);
    assert_eq!(peer.one().rejected(), RejectReason::Protocol);
}

#[test]
fn text_is_not_held_for_its_turn_and_asks_a_bounded_number_of_questions() {
    let mut peer = Peer::logged_in("");
    let answer = ask(&mut peer, &"SendTargets= ".repeat(17));
    assert_eq!(answer.rejected(), RejectReason::Protocol);
    let _missing = peer.order();
    let early = ask(&mut peer, "SendTargets=");
    assert_eq!(early.rejected(), RejectReason::Protocol);
}
