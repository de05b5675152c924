//! CHAP answers that are missing, wrong, replayed and reflected: each gets the same refusal, after the same
//! steps, as an initiator that nobody knows.

use ashlar_tests::daemon::Daemon;
use ashlar_tests::initiator::{response, Handshake, Initiator, Link, Refused, Who};
use san_iscsi::wire::text::to_hex;
use san_iscsi::wire::{LoginStatus, Stage, Tsih};

const NAME: &str = "iqn.2026-11.io.test:safe";
const USER: &str = "alice";
const SECRET: &str = "correct-horse-battery";
const REFUSED: Refused = Refused::Status(LoginStatus::AuthenticationFailure);

fn safe_san(test: &str) -> Daemon {
    let daemon = Daemon::start(test, 1);
    std::fs::write(daemon.dir().join("secret"), SECRET).expect("a test may write there");
    std::fs::write(daemon.dir().join("mutual"), "a-secret-of-the-target").expect("a test may write there");
    daemon.cli("pool create fast --device disk:1G");
    daemon.cli("volume create fast/db --size 16M");
    let chap = format!("--chap-user {USER} --chap-secret-file secret");
    let mutual = "--mutual-user target --mutual-secret-file mutual";
    daemon.cli(&format!("host create safe --iqn {NAME} {chap} {mutual}"));
    daemon.cli("lun map fast/db --host safe");
    daemon
}

/// A login up to the challenge: algorithm, identifier, challenge.
fn challenged(daemon: &Daemon, name: &str) -> (Handshake, String, u8, Vec<u8>) {
    let mut handshake = Handshake::new(Link::connect(daemon.ports[0]), 1);
    let who = Who { chap: Some((USER, SECRET)), ..Who::named(name) };
    let (algorithm, id, challenge) = handshake.challenge(&daemon.target(), &who).expect("a challenge");
    (handshake, algorithm, id, challenge)
}

fn prove(handshake: &mut Handshake, keys: &str) -> Option<Refused> {
    handshake.step(Stage::Security, Some(Stage::Operational), keys).err()
}

fn proof(user: &str, response: &[u8]) -> String {
    format!("CHAP_N={user} CHAP_R={}", to_hex(response))
}

#[test]
fn only_the_right_answer_to_this_very_challenge_is_taken() {
    let daemon = safe_san("chap");
    let (mut right, algorithm, id, challenge) = challenged(&daemon, NAME);
    let answer = response(&algorithm, id, SECRET, &challenge);
    assert_eq!((algorithm.as_str(), challenge.len()), ("7", 32), "the strongest in common");
    assert_eq!(prove(&mut right, &proof(USER, &answer)), None);
    // The same answer to another challenge; one with another secret; of another user; none.
    let (mut replayed, _, _, other) = challenged(&daemon, NAME);
    assert_ne!(challenge, other, "a challenge is used once");
    assert_eq!(prove(&mut replayed, &proof(USER, &answer)), Some(REFUSED));
    let attempt = |secret: &str, user: &str| {
        let (mut handshake, algorithm, id, challenge) = challenged(&daemon, NAME);
        prove(&mut handshake, &proof(user, &response(&algorithm, id, secret, &challenge)))
    };
    assert_eq!(attempt(SECRET, USER), None);
    assert_eq!(attempt("another-secret-of-12", USER), Some(REFUSED));
    assert_eq!(attempt(SECRET, "bob"), Some(REFUSED));
    let (mut silent, ..) = challenged(&daemon, NAME);
    assert!(prove(&mut silent, "").is_some_and(|refused| refused != REFUSED) || silent_stays_out(silent));
    // Somebody whom nobody knows goes the same way.
    let (mut unknown, algorithm, id, challenge) = challenged(&daemon, "iqn.2026-11.io.test:nobody");
    let keys = proof(USER, &response(&algorithm, id, SECRET, &challenge));
    assert_eq!(prove(&mut unknown, &keys), Some(REFUSED));
}

/// An answer without keys changes nothing: the login is where it was, and does not go on.
fn silent_stays_out(mut handshake: Handshake) -> bool {
    let next = handshake.step(Stage::Operational, Some(Stage::FullFeature), "");
    next.is_err()
}

/// Our challenge to the target, of the one that it sent: identifier and bytes.
type Theirs<'a> = dyn Fn(u8, &[u8]) -> (u8, Vec<u8>) + 'a;

#[test]
fn the_challenge_coming_back_is_refused_and_mutual_proof_is_given() {
    let daemon = safe_san("reflect");
    let mutual = |theirs: &Theirs<'_>| {
        let (mut handshake, algorithm, id, challenge) = challenged(&daemon, NAME);
        let (our_id, our_challenge) = theirs(id, &challenge);
        let keys = format!(
            "{} CHAP_I={our_id} CHAP_C={}",
            proof(USER, &response(&algorithm, id, SECRET, &challenge)),
            to_hex(&our_challenge)
        );
        handshake.step(Stage::Security, Some(Stage::Operational), &keys).map(|(_, keys)| (keys, algorithm))
    };
    let (keys, algorithm) = mutual(&|_, _| (9, vec![7; 24])).expect("it proves itself");
    let expected = to_hex(&response(&algorithm, 9, "a-secret-of-the-target", &[7; 24]));
    assert_eq!((keys["CHAP_N"].as_str(), &keys["CHAP_R"]), ("target", &expected));
    let reflected = mutual(&|id, challenge| (id, challenge.to_vec()));
    assert_eq!(reflected.err(), Some(REFUSED));
    // Of another connection, too, it is of no use: the answer has the target's secret, not the initiator's.
    let (mut victim, _, id, challenge) = challenged(&daemon, NAME);
    let (keys, _) = mutual(&|_, _| (id, challenge.clone())).expect("it proves itself");
    assert_eq!(prove(&mut victim, &format!("CHAP_N={USER} CHAP_R={}", keys["CHAP_R"])), Some(REFUSED));
}

/// Names are compared as RFC 3722 prepares them: their case does not matter.
#[test]
fn an_initiators_name_is_the_same_in_upper_case() {
    let daemon = safe_san("case");
    let upper = NAME.to_uppercase();
    let login = |name: &str| {
        let who = Who { chap: Some((USER, SECRET)), ..Who::named(name) };
        Initiator::login(daemon.ports[0], &daemon.target(), &who)
    };
    let mut first = login(NAME).expect("a login");
    let mut second = login(&upper).expect("the same initiator");
    assert_ne!((first.tsih, Tsih(0)), (second.tsih, second.tsih));
    second.settle(0);
    while first.pump().is_ok() {}
    assert!(daemon.cli("status").contains("Sessions"), "the first session was replaced by the second");
}
