//! Login (RFC 7143 6.3): stages, refusals, CHAP; and protocol rules 5, 8, 9, 13 and 15 of it.

use super::*;
use crate::scsi::inventory::{Credentials, Login, Secret};
use crate::session::chap::Algorithm;
use crate::wire::text::{binary, to_hex};
use LoginStatus as S;

/// Status of a login that is one request.
fn status(keys: &str) -> S {
    status_with(|_| {}, keys)
}

fn status_with(change: impl FnOnce(&mut LoginRequest), keys: &str) -> S {
    let mut peer = Peer::new();
    let full = |request: &mut LoginRequest| {
        (request.stage, request.next) = (Stage::Operational, Some(Stage::FullFeature));
        change(request);
    };
    let answer = peer.login_with(full, keys).login();
    let (is_in, over) = (peer.driver.session.is_full_feature(), peer.ended().is_some());
    assert_eq!((answer.status == S::Success, answer.status != S::Success), (is_in, over));
    assert_eq!(answer.tsih != Tsih(0), is_in || answer.status == S::SessionDoesNotExist);
    answer.status
}

#[test]
fn a_login_of_one_request_is_enough() {
    let mut peer = Peer::new();
    let answer = peer.login(Stage::Operational, Some(Stage::FullFeature), &names());
    assert_eq!(answer.text(), "TargetPortalGroupTag=7 MaxRecvDataSegmentLength=262144");
    let login = answer.login();
    assert_eq!((login.status, login.next), (S::Success, Some(Stage::FullFeature)));
    assert_eq!((login.window.exp_cmd_sn, login.window.max_cmd_sn), (Sn(100), Sn(100 + 127)));
    peer.settle().close();
}

#[test]
fn both_stages_lead_to_full_feature_phase() {
    let mut peer = Peer::new();
    let first =
        peer.login(Stage::Security, Some(Stage::Operational), &format!("{} AuthMethod=CHAP,None", names()));
    assert_eq!(first.text(), "TargetPortalGroupTag=7 AuthMethod=None");
    assert_eq!((first.login().next, first.login().tsih), (Some(Stage::Operational), Tsih(0)));
    let second = peer.login(Stage::Operational, None, "MaxBurstLength=4096");
    assert_eq!(second.login().next, None);
    assert_eq!(second.text(), "MaxBurstLength=4096 MaxRecvDataSegmentLength=262144");
    let third = peer.login(Stage::Operational, Some(Stage::FullFeature), "");
    assert_eq!((third.text().as_str(), third.login().next), ("", Some(Stage::FullFeature)));
    peer.settle().close();
}

#[test]
fn what_is_missing_unknown_or_wrong_is_refused_by_its_own_status() {
    let i = format!("InitiatorName={INITIATOR}");
    let t = format!("TargetName={TARGET}");
    assert_eq!(status(&format!("{i} {t}")), S::Success);
    assert_eq!(status(&t), S::MissingParameter);
    assert_eq!(status(&i), S::MissingParameter);
    assert_eq!(status(&format!("InitiatorName= {t}")), S::InitiatorError);
    assert_eq!(status(&format!("{i} {t} SessionType=Other")), S::SessionTypeNotSupported);
    assert_eq!(status(&format!("{i} TargetName=iqn.2026-11.io.ashlar:other")), S::NotFound);
    assert_eq!(status(&format!("InitiatorName=iqn.2026-11.io.other:x {t}")), S::AuthenticationFailure);
    assert_eq!(status_with(|r| r.version_min = 1, &names()), S::UnsupportedVersion);
    assert_eq!(status_with(|r| r.tsih = Tsih(77), &names()), S::SessionDoesNotExist);
    assert_eq!(status(&format!("{i} {t} nonsense")), S::InitiatorError);
    assert_eq!(status(&format!("{i} {i} {t}")), S::InitiatorError, "a key twice");
}

#[test]
fn a_key_twice_in_a_login_is_refused_across_requests_too() {
    let mut peer = Peer::new();
    peer.login(Stage::Operational, None, &format!("{} MaxBurstLength=4096", names()));
    let answer = peer.login(Stage::Operational, None, "MaxBurstLength=8192");
    assert_eq!(answer.login().status, S::InitiatorError);
}

#[test]
fn a_key_may_be_split_over_requests() {
    let mut peer = Peer::new();
    let names = names();
    let (first, second) = names.split_at(30);
    let raw = |peer: &mut Peer, more, text: &str| {
        let text = text.replace(' ', "\0") + if more { "" } else { "\0" };
        let request = LoginRequest {
            order: peer.immediate(),
            more,
            stage: Stage::Operational,
            next: (!more).then_some(Stage::FullFeature),
            version_max: 0,
            version_min: 0,
            isid: Isid([1; 6]),
            tsih: Tsih(0),
            task: TaskTag(1),
            cid: Cid(1),
        };
        peer.send_raw(&whole(request.emit(), &[], text.as_bytes(), Digests::default()));
        peer.one()
    };
    let answer = raw(&mut peer, true, first);
    assert_eq!((answer.login().status, answer.login().next, answer.data.len()), (S::Success, None, 0));
    assert_eq!(raw(&mut peer, false, second).login().next, Some(Stage::FullFeature));
}

#[test]
fn transit_together_with_continue_is_refused() {
    let mut peer = Peer::new();
    let mut bhs = [0; 48];
    (bhs[0], bhs[1]) = (0x43, 0x80 | 0x40 | 0x04 | 0x03);
    peer.send_raw(&whole(bhs, &[], b"InitiatorName=x\0", Digests::default()));
    assert_eq!(peer.one().login().status, S::InitiatorError);
    assert!(peer.ended().is_some());
}

#[test]
fn a_stage_that_was_left_cannot_be_used_again() {
    let mut peer = Peer::new();
    peer.login(Stage::Security, Some(Stage::Operational), &names());
    assert_eq!(peer.login(Stage::Security, None, "").login().status, S::InitiatorError);
}

#[test]
fn a_login_keeps_its_names() {
    for change in [
        (|r: &mut LoginRequest| r.isid = Isid([2; 6])) as fn(&mut LoginRequest),
        |r| r.cid = Cid(9),
        |r| r.task = TaskTag(9),
        |r| r.tsih = Tsih(9),
    ] {
        let mut peer = Peer::new();
        peer.login(Stage::Security, None, &names());
        assert_eq!(peer.login_with(change, "").login().status, S::InitiatorError);
    }
}

#[test]
fn text_before_the_login_is_bounded() {
    let mut peer = Peer::new();
    let key = |n: usize| format!("X-{n}={}", "v".repeat(8000));
    peer.login(Stage::Operational, None, &names());
    assert_eq!(peer.login(Stage::Operational, None, &key(1)).login().status, S::Success);
    assert_eq!(peer.login(Stage::Operational, None, &key(2)).login().status, S::Success);
    assert_eq!(peer.login(Stage::Operational, None, &key(3)).login().status, S::InitiatorError);
}

#[test]
fn requests_of_a_login_are_bounded() {
    let mut peer = Peer::new();
    peer.login(Stage::Operational, None, &names());
    for _ in 1..64 {
        assert_eq!(peer.login(Stage::Operational, None, "").login().status, S::Success);
    }
    assert_eq!(peer.login(Stage::Operational, None, "").login().status, S::InitiatorError);
}

#[test]
fn other_requests_have_no_place_in_a_login() {
    let mut peer = Peer::new();
    let command = peer.read(0, 1);
    peer.send(Request::ScsiCommand(command), &[]);
    assert_eq!(peer.one().login().status, S::InvalidDuringLogin);
    assert!(peer.ended().is_some());
    peer.close();
}

#[test]
fn a_target_that_starts_or_stops_says_come_back() {
    let mut peer = Peer::new();
    peer.world.portal.open.store(false, std::sync::atomic::Ordering::Release);
    let answer = peer.login(Stage::Operational, Some(Stage::FullFeature), &names());
    assert_eq!(answer.login().status, S::ServiceUnavailable);
}

#[test]
fn fifteen_seconds_are_enough_for_a_login() {
    let mut peer = Peer::new();
    peer.login(Stage::Operational, None, &names());
    peer.pass(14);
    assert_eq!(peer.ended(), None);
    peer.pass(1);
    assert_eq!(peer.ended(), Some(End::LoginTime));
}

// CHAP

fn login(user: &str, secret: &[u8]) -> Login {
    Login { user: user.into(), secret: Secret::new(secret.to_vec()).expect("long enough") }
}

fn credentials(mutual: bool) -> Credentials {
    let target = mutual.then(|| login("target", b"the target's own secret"));
    Credentials { initiator: login("user", b"a secret that is long"), target }
}

/// A peer that was sent a challenge: with algorithm, identifier and challenge.
fn challenged(mutual: bool, initiator: &str, list: &str) -> (Peer, Algorithm, u8, Vec<u8>) {
    let mut peer = Peer::of(World::new(DISK, MEMORY, Some(credentials(mutual))));
    let names = format!("InitiatorName={initiator} TargetName={TARGET}");
    let first =
        peer.login(Stage::Security, Some(Stage::Operational), &format!("{names} AuthMethod=CHAP,None"));
    assert_eq!(first.text(), "TargetPortalGroupTag=7 AuthMethod=CHAP");
    assert_eq!(first.login().next, None, "nothing is proved yet");
    let second = peer.login(Stage::Security, None, &format!("CHAP_A={list}"));
    let text = second.text();
    let value = |key: &str| {
        text.split(' ').find_map(|pair| pair.strip_prefix(&format!("{key}="))).expect("the key is there")
    };
    let algorithm = Algorithm::strongest(value("CHAP_A")).expect("known");
    let id = value("CHAP_I").parse().expect("a byte");
    let challenge = binary(value("CHAP_C"), 64).expect("binary");
    (peer, algorithm, id, challenge)
}

fn answer(peer: &mut Peer, login: &Login, algorithm: Algorithm, id: u8, challenge: &[u8], more: &str) -> Pdu {
    let response = to_hex(&algorithm.respond(id, login, challenge));
    let keys = format!("CHAP_N={} CHAP_R={response} {more}", login.user);
    peer.login(Stage::Security, Some(Stage::Operational), &keys)
}

#[test]
fn chap_lets_in_who_knows_the_secret() {
    for (list, strongest) in [("5", Algorithm::Md5), ("7,5", Algorithm::Sha256), ("5,7", Algorithm::Sha256)] {
        let (mut peer, algorithm, id, challenge) = challenged(false, INITIATOR, list);
        assert_eq!(algorithm, strongest);
        let proved = answer(&mut peer, &credentials(false).initiator, algorithm, id, &challenge, "");
        assert_eq!(proved.login().next, Some(Stage::Operational));
        let last = peer.login(Stage::Operational, Some(Stage::FullFeature), "");
        assert_eq!(last.login().status, S::Success);
    }
}

#[test]
fn a_wrong_secret_and_an_unknown_name_get_the_same_answer() {
    for (initiator, secret) in [
        (INITIATOR, &b"another secret here"[..]),
        ("iqn.2026-11.io.other:x", b"another secret here"),
        ("iqn.2026-11.io.other:x", b"a secret that is long"),
    ] {
        let (mut peer, algorithm, id, challenge) = challenged(false, initiator, "7");
        let refused = answer(&mut peer, &login("user", secret), algorithm, id, &challenge, "");
        assert_eq!((refused.login().status, refused.data.len()), (S::AuthenticationFailure, 0));
        assert!(peer.ended().is_some());
    }
}

#[test]
fn chap_cannot_be_left_out() {
    let chap = || Peer::of(World::new(DISK, MEMORY, Some(credentials(false))));
    for (stage, next, keys) in [
        (Stage::Operational, Stage::FullFeature, ""),
        (Stage::Security, Stage::Operational, "AuthMethod=None"),
        (Stage::Security, Stage::FullFeature, ""),
        (Stage::Security, Stage::Operational, "AuthMethod=KRB5"),
        (Stage::Security, Stage::FullFeature, "SessionType=Discovery AuthMethod=None"),
    ] {
        let names = format!("InitiatorName={INITIATOR} TargetName={TARGET}");
        let answer = chap().login(stage, Some(next), &format!("{names} {keys}"));
        assert_eq!(answer.login().status, S::AuthenticationFailure, "{keys}");
    }
}

#[test]
fn a_step_of_chap_cannot_be_left_out() {
    let (mut peer, ..) = challenged(false, INITIATOR, "7");
    let skipped = peer.login(Stage::Security, Some(Stage::FullFeature), "");
    assert_eq!((skipped.login().status, skipped.login().next), (S::Success, None), "it stays where it is");
    assert_eq!(
        peer.login(Stage::Security, None, "CHAP_N=user").login().status,
        S::InitiatorError,
        "a response is missing"
    );
}

#[test]
fn a_replayed_response_is_of_no_use() {
    // The same response over another challenge, as one who listened has it.
    let (mut peer, algorithm, id, challenge) = challenged(false, INITIATOR, "7");
    let mut other = challenge.clone();
    other[0] ^= 1;
    let refused = answer(&mut peer, &credentials(false).initiator, algorithm, id, &other, "");
    assert_eq!(refused.login().status, S::AuthenticationFailure);
}

#[test]
fn mutual_chap_proves_the_target() {
    let (mut peer, algorithm, id, challenge) = challenged(true, INITIATOR, "7");
    let more = "CHAP_I=200 CHAP_C=0x0102030405060708";
    let proved = answer(&mut peer, &credentials(true).initiator, algorithm, id, &challenge, more);
    let target = credentials(true).target.expect("mutual");
    let right = to_hex(&algorithm.respond(200, &target, &[1, 2, 3, 4, 5, 6, 7, 8]));
    assert_eq!(proved.text(), format!("CHAP_N=target CHAP_R={right}"));
}

#[test]
fn our_own_challenge_coming_back_is_refused() {
    let (mut peer, algorithm, id, challenge) = challenged(true, INITIATOR, "7");
    let more = format!("CHAP_I=1 CHAP_C={}", to_hex(&challenge));
    let refused = answer(&mut peer, &credentials(true).initiator, algorithm, id, &challenge, &more);
    assert_eq!((refused.login().status, refused.data.len()), (S::AuthenticationFailure, 0));
}

#[test]
fn who_wants_the_target_proved_is_refused_where_it_cannot_be() {
    let (mut peer, algorithm, id, challenge) = challenged(false, INITIATOR, "7");
    let more = "CHAP_I=1 CHAP_C=0x01020304";
    let refused = answer(&mut peer, &credentials(false).initiator, algorithm, id, &challenge, more);
    assert_eq!(refused.login().status, S::AuthenticationFailure);
}

#[test]
fn an_initiators_name_is_known_in_lower_case() {
    let mut peer = Peer::new();
    let keys = format!("InitiatorName={} TargetName={TARGET}", INITIATOR.to_uppercase());
    let answer = peer.login(Stage::Operational, Some(Stage::FullFeature), &keys).login();
    assert_eq!(answer.status, LoginStatus::Success);
    assert_eq!(peer.driver.session.initiator(), Some(INITIATOR));
}
