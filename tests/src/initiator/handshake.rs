//! The login, step by step, and CHAP.

use super::link::{Gone, Link};
use md5::Md5;
use san_iscsi::wire::digest::Digests;
use san_iscsi::wire::text::{self, binary, to_hex};
use san_iscsi::wire::{
    Cid, Isid, LoginRequest, LoginResponse, LoginStatus, Order, Request, Sn, Stage, TaskTag, Tsih,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The first CmdSN of every session here.
const FIRST: Sn = Sn(1);

/// Who logs in, and how.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// InitiatorName.
    pub name: &'a str,
    /// The last bytes of the ISID; the others are fixed.
    pub isid: u16,
    /// User and secret, if it is to prove who it is.
    pub chap: Option<(&'a str, &'a str)>,
    /// Operational keys, parted by spaces.
    pub keys: &'a str,
}

impl<'a> Who<'a> {
    /// An initiator without a secret, all of whose data is asked for by R2T.
    #[must_use]
    pub fn named(name: &'a str) -> Who<'a> {
        Who { name, isid: 1, chap: None, keys: "InitialR2T=Yes ImmediateData=No" }
    }
}

/// Why a login did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The target said so.
    Status(LoginStatus),
    /// The target went away.
    Gone(Gone),
}

/// The keys of an answer.
pub type Keys = BTreeMap<String, String>;

/// A connection that is logging in.
pub struct Handshake {
    /// The connection.
    pub link: Link,
    isid: Isid,
    /// The session to rejoin; zero for a new one.
    pub tsih: Tsih,
    /// The target's next status number.
    pub(super) stat_sn: Sn,
}

/// CHAP's response (RFC 1994 4.1) by algorithm 5 or 7.
#[must_use]
pub fn response(algorithm: &str, id: u8, secret: &str, challenge: &[u8]) -> Vec<u8> {
    let parts = [&[id][..], secret.as_bytes(), challenge];
    match algorithm {
        "7" => parts.iter().fold(Sha256::new(), Digest::chain_update).finalize().to_vec(),
        _ => parts.iter().fold(Md5::new(), Digest::chain_update).finalize().to_vec(),
    }
}

impl Handshake {
    /// Begins one over a new connection.
    #[must_use]
    pub fn new(link: Link, isid: u16) -> Handshake {
        let [high, low] = isid.to_be_bytes();
        Handshake { link, isid: Isid([0x80, 0, 0, 0, high, low]), tsih: Tsih(0), stat_sn: Sn(0) }
    }

    /// One request as it goes out; its keys are parted by spaces.
    #[must_use]
    pub fn request(&self, stage: Stage, next: Option<Stage>, keys: &str) -> (Request, Vec<u8>) {
        let request = LoginRequest {
            order: Order { immediate: true, cmd_sn: FIRST, exp_stat_sn: self.stat_sn },
            more: false,
            stage,
            next,
            version_max: 0,
            version_min: 0,
            isid: self.isid,
            tsih: self.tsih,
            task: TaskTag(1),
            cid: Cid(1),
        };
        let text: String = keys.split_whitespace().map(|key| format!("{key}\0")).collect();
        (Request::Login(request), text.into_bytes())
    }

    /// Sends one request and takes its answer.
    ///
    /// # Errors
    /// The target refuses, or goes away.
    ///
    /// # Panics
    /// When the answer makes no sense.
    pub fn step(
        &mut self,
        stage: Stage,
        next: Option<Stage>,
        keys: &str,
    ) -> Result<(LoginResponse, Keys), Refused> {
        let (request, text) = self.request(stage, next, keys);
        self.link.send(&request, &text);
        self.take_answer()
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// The target refuses, or goes away.
    ///
    /// # Panics
    /// When the answer makes no sense.
    pub fn take_answer(&mut self) -> Result<(LoginResponse, Keys), Refused> {
        let pdu = self.link.receive().map_err(Refused::Gone)?;
        assert_eq!(pdu.opcode(), 0x23, "{pdu:?}");
        let answer = LoginResponse::parse(&pdu.bhs).expect("a login response");
        if answer.status != LoginStatus::Success {
            return Err(Refused::Status(answer.status));
        }
        self.stat_sn = answer.window.stat_sn.plus(1);
        let pairs = text::parse(&pdu.data).expect("keys and values");
        Ok((answer, pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()))
    }

    /// Says who is there, and asks to prove it: the challenge of the target.
    ///
    /// # Errors
    /// The target refuses, or goes away.
    ///
    /// # Panics
    /// When the challenge makes no sense.
    pub fn challenge(&mut self, target: &str, who: &Who<'_>) -> Result<(String, u8, Vec<u8>), Refused> {
        self.step(Stage::Security, None, &format!("{} AuthMethod=CHAP", names(target, who)))?;
        let (_, keys) = self.step(Stage::Security, None, "CHAP_A=7,5")?;
        let id = keys["CHAP_I"].parse().expect("a byte");
        Ok((keys["CHAP_A"].clone(), id, binary(&keys["CHAP_C"], 1024).expect("a challenge")))
    }

    /// Goes all the way; the session's TSIH.
    ///
    /// # Errors
    /// The target refuses, or goes away.
    pub fn complete(&mut self, target: &str, who: &Who<'_>) -> Result<Tsih, Refused> {
        let mut keys = who.keys.to_owned();
        match who.chap {
            None => keys = format!("{} {keys}", names(target, who)),
            Some((user, secret)) => {
                let (algorithm, id, challenge) = self.challenge(target, who)?;
                let answer = to_hex(&response(&algorithm, id, secret, &challenge));
                let proof = format!("CHAP_N={user} CHAP_R={answer}");
                self.step(Stage::Security, Some(Stage::Operational), &proof)?;
            }
        }
        let (answer, keys) = self.step(Stage::Operational, Some(Stage::FullFeature), &keys)?;
        let on = |key: &str| keys.get(key).is_some_and(|value| value == "CRC32C");
        self.link.negotiated(Digests { header: on("HeaderDigest"), data: on("DataDigest") });
        Ok(answer.tsih)
    }
}

fn names(target: &str, who: &Who<'_>) -> String {
    format!("InitiatorName={} TargetName={target} SessionType=Normal", who.name)
}
