//! Negotiation of keys (RFC 7143 6.2 and 13): what each key may be, and what comes out of both sides' wishes.
//!
//! Invariants: a key is negotiated at most once in a login; what cannot be accepted is answered `Reject` and
//! leaves the default in force; unknown keys are answered `NotUnderstood`.

use super::limits::{
    DEFAULT_SEGMENT, FIRST_BURST, MAX_BURST, OUTSTANDING_R2T, RECEIVE_SEGMENT, TIME_TO_WAIT,
};
use crate::wire::digest::Digests;
use crate::wire::text::{number, put};
use std::ops::RangeInclusive;

/// What was agreed, the defaults of the RFC before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// HeaderDigest and DataDigest.
    pub digests: Digests,
    /// MaxRecvDataSegmentLength of the initiator: data in a PDU to it.
    pub send_segment: u32,
    /// MaxRecvDataSegmentLength of the target: data in a PDU from the initiator.
    pub receive_segment: u32,
    /// Bytes in a sequence of Data-In or of solicited Data-Out.
    pub max_burst: u32,
    /// Bytes that may come without having been asked for.
    pub first_burst: u32,
    /// No Data-Out comes unasked.
    pub initial_r2t: bool,
    /// A command may carry data.
    pub immediate_data: bool,
    /// R2Ts of a task that are unanswered at once.
    pub outstanding_r2t: u32,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            digests: Digests::default(),
            send_segment: DEFAULT_SEGMENT,
            receive_segment: DEFAULT_SEGMENT,
            max_burst: 256 << 10,
            first_burst: 64 << 10,
            initial_r2t: true,
            immediate_data: true,
            outstanding_r2t: 1,
        }
    }
}

/// What a key is answered with.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The key declares: nothing is said to it.
    None,
    Value(String),
    Bool(bool),
    Irrelevant,
    Reject,
    NotUnderstood,
}

/// The negotiation of one login, or of one exchange in full feature phase.
#[derive(Debug, Default)]
pub(super) struct Negotiation {
    pub(super) params: Params,
    /// Discovery sessions have no use for most keys.
    pub(super) discovery: bool,
    declared: bool,
}

const SEGMENT: RangeInclusive<u32> = 512..=(1 << 24) - 1;

/// What a number comes to: the smaller or the larger of both wishes.
fn agree(
    value: &str,
    range: RangeInclusive<u32>,
    choose: impl Fn(u32) -> u32,
    set: impl FnOnce(u32),
) -> Answer {
    match number(value).filter(|n| range.contains(n)) {
        Some(n) => {
            set(choose(n));
            Answer::Value(choose(n).to_string())
        }
        None => Answer::Reject,
    }
}

fn flag(value: &str, choose: impl Fn(bool) -> bool, set: impl FnOnce(bool)) -> Answer {
    let wish = match value {
        "Yes" => true,
        "No" => false,
        _ => return Answer::Reject,
    };
    set(choose(wish));
    Answer::Bool(choose(wish))
}

/// The first of the peer's list that is one of ours.
fn first_of(value: &str, ours: &[&str], set: impl FnOnce(&str)) -> Answer {
    match value.split(',').find(|item| ours.contains(item)) {
        Some(item) => {
            set(item);
            Answer::Value(item.to_owned())
        }
        None => Answer::Reject,
    }
}

impl Negotiation {
    /// Answers the keys of one request, into `out`.
    pub(super) fn on_keys(&mut self, pairs: &[(&str, &str)], out: &mut Vec<u8>) {
        // Whether FirstBurstLength means anything, and its bound, depend on other keys of the same request.
        let is_last = |(key, _): &&(&str, &str)| *key == "FirstBurstLength";
        let (last, first): (Vec<_>, Vec<_>) = pairs.iter().partition(is_last);
        for &(key, value) in first.into_iter().chain(last) {
            if matches!(value, "Reject" | "NotUnderstood" | "Irrelevant") {
                continue; // an answer, and nothing was asked
            }
            let answer = if self.discovery && of_normal_sessions(key) {
                Answer::Irrelevant
            } else {
                self.on_key(key, value)
            };
            match answer {
                Answer::None => {}
                Answer::Value(value) => put(out, key, value),
                Answer::Bool(yes) => put(out, key, if yes { "Yes" } else { "No" }),
                Answer::Irrelevant => put(out, key, "Irrelevant"),
                Answer::Reject => put(out, key, "Reject"),
                Answer::NotUnderstood => put(out, key, "NotUnderstood"),
            }
        }
    }

    fn on_key(&mut self, key: &str, value: &str) -> Answer {
        let p = &mut self.params;
        match key {
            "HeaderDigest" => {
                first_of(value, &["CRC32C", "None"], |item| p.digests.header = item == "CRC32C")
            }
            "DataDigest" => first_of(value, &["CRC32C", "None"], |item| p.digests.data = item == "CRC32C"),
            "MaxRecvDataSegmentLength" => match agree(value, SEGMENT, |n| n, |n| p.send_segment = n) {
                Answer::Reject => Answer::Reject,
                _ => Answer::None,
            },
            "MaxBurstLength" => agree(value, SEGMENT, |n| n.min(MAX_BURST), |n| p.max_burst = n),
            "FirstBurstLength" if p.initial_r2t && !p.immediate_data => Answer::Irrelevant,
            "FirstBurstLength" => {
                let most = FIRST_BURST.min(p.max_burst);
                agree(value, SEGMENT, |n| n.min(most), |n| p.first_burst = n)
            }
            "MaxOutstandingR2T" => {
                agree(value, 1..=65535, |n| n.min(OUTSTANDING_R2T), |n| p.outstanding_r2t = n)
            }
            "InitialR2T" => flag(value, |wish| wish, |yes| p.initial_r2t = yes),
            "ImmediateData" => flag(value, |wish| wish, |yes| p.immediate_data = yes),
            "DataPDUInOrder" | "DataSequenceInOrder" => flag(value, |_| true, |_| {}),
            "MaxConnections" => agree(value, 1..=65535, |_| 1, |_| {}),
            "ErrorRecoveryLevel" => agree(value, 0..=2, |_| 0, |_| {}),
            "DefaultTime2Wait" => agree(value, 0..=3600, |n| n.max(u32::from(TIME_TO_WAIT)), |_| {}),
            "DefaultTime2Retain" => agree(value, 0..=3600, |_| 0, |_| {}),
            "TaskReporting" => first_of(value, &["RFC3720", "ResponseFence"], |_| {}),
            "iSCSIProtocolLevel" => agree(value, 0..=31, |n| n.min(1), |_| {}),
            // Of RFC 3720; "No" is what its initiators understand (RFC 7143 13.25).
            "IFMarker" | "OFMarker" => Answer::Bool(false),
            "IFMarkInt" | "OFMarkInt" => Answer::Reject,
            "InitiatorAlias" | "NodeArchitecture" => Answer::None,
            _ => Answer::NotUnderstood,
        }
    }

    /// Says, once, what the target takes.
    pub(super) fn declare(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.declared, true) {
            self.params.receive_segment = RECEIVE_SEGMENT;
            put(out, "MaxRecvDataSegmentLength", RECEIVE_SEGMENT);
        }
    }

    /// What is agreed when all is said: bursts that nobody negotiated keep their order.
    pub(super) fn finish(&self) -> Params {
        Params { first_burst: self.params.first_burst.min(self.params.max_burst), ..self.params }
    }
}

/// Keys without meaning in a discovery session (RFC 7143 13).
fn of_normal_sessions(key: &str) -> bool {
    [
        "MaxConnections",
        "InitialR2T",
        "ImmediateData",
        "MaxBurstLength",
        "FirstBurstLength",
        "MaxOutstandingR2T",
        "DataPDUInOrder",
        "DataSequenceInOrder",
        "TaskReporting",
    ]
    .contains(&key)
}

/// Keys in full feature phase: only the length of what the initiator receives may still change.
pub(super) fn in_full_feature(params: &mut Params, pairs: &[(&str, &str)], out: &mut Vec<u8>) {
    for (key, value) in pairs {
        match *key {
            "MaxRecvDataSegmentLength" => match number(value).filter(|n| SEGMENT.contains(n)) {
                Some(n) => params.send_segment = n,
                None => put(out, key, "Reject"),
            },
            "InitiatorAlias" | "NodeArchitecture" => {}
            _ => {
                let mut scratch = Negotiation::default();
                let known = scratch.on_key(key, value) != Answer::NotUnderstood;
                put(out, key, if known { "Reject" } else { "NotUnderstood" });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(negotiation: &mut Negotiation, pairs: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        negotiation.on_keys(pairs, &mut out);
        String::from_utf8(out).expect("text").replace('\0', " ").trim_end().to_owned()
    }

    #[test]
    fn every_key_is_answered_as_the_rfc_says() {
        for (key, value, answer) in [
            ("HeaderDigest", "CRC32C,None", "CRC32C"),
            ("HeaderDigest", "None,CRC32C", "None"),
            ("DataDigest", "x-new,CRC32C", "CRC32C"),
            ("DataDigest", "x-new", "Reject"),
            ("MaxBurstLength", "16776192", "1048576"),
            ("MaxBurstLength", "0x200", "512"),
            ("MaxBurstLength", "511", "Reject"),
            ("MaxBurstLength", "16777216", "Reject"),
            ("FirstBurstLength", "16776192", "262144"),
            ("MaxOutstandingR2T", "1", "1"),
            ("MaxOutstandingR2T", "100", "4"),
            ("MaxOutstandingR2T", "0", "Reject"),
            ("InitialR2T", "No", "No"),
            ("InitialR2T", "Yes", "Yes"),
            ("InitialR2T", "yes", "Reject"),
            ("ImmediateData", "No", "No"),
            ("ImmediateData", "Yes", "Yes"),
            ("DataPDUInOrder", "No", "Yes"),
            ("DataSequenceInOrder", "No", "Yes"),
            ("MaxConnections", "8", "1"),
            ("ErrorRecoveryLevel", "2", "0"),
            ("ErrorRecoveryLevel", "3", "Reject"),
            ("DefaultTime2Wait", "0", "2"),
            ("DefaultTime2Retain", "20", "0"),
            ("TaskReporting", "FastAbort,ResponseFence", "ResponseFence"),
            ("iSCSIProtocolLevel", "2", "1"),
            ("IFMarker", "Yes", "No"),
            ("OFMarkInt", "2048~8192", "Reject"),
            ("X-com.example.new", "1", "NotUnderstood"),
            ("RDMAExtensions", "Yes", "NotUnderstood"),
        ] {
            let found = answers(&mut Negotiation::default(), &[(key, value)]);
            assert_eq!(found, format!("{key}={answer}"), "{key}={value}");
        }
        for silent in [("MaxRecvDataSegmentLength", "65536"), ("InitiatorAlias", "a")] {
            assert_eq!(answers(&mut Negotiation::default(), &[silent]), "");
        }
    }

    #[test]
    fn first_burst_waits_for_what_it_depends_on() {
        let mut n = Negotiation::default();
        let pairs = [("FirstBurstLength", "65536"), ("InitialR2T", "Yes"), ("ImmediateData", "No")];
        assert!(answers(&mut n, &pairs).ends_with("FirstBurstLength=Irrelevant"));
        let mut n = Negotiation::default();
        let pairs = [("FirstBurstLength", "65536"), ("MaxBurstLength", "4096")];
        assert_eq!(answers(&mut n, &pairs), "MaxBurstLength=4096 FirstBurstLength=4096");
        let mut n = Negotiation::default();
        answers(&mut n, &[("MaxBurstLength", "4096")]);
        assert_eq!(n.finish().first_burst, 4096);
    }

    #[test]
    fn keys_of_normal_sessions_are_irrelevant_in_discovery() {
        let mut n = Negotiation { discovery: true, ..Negotiation::default() };
        let found = answers(&mut n, &[("MaxBurstLength", "4096"), ("HeaderDigest", "None")]);
        assert_eq!(found, "MaxBurstLength=Irrelevant HeaderDigest=None");
    }

    #[test]
    fn what_the_target_takes_is_declared_once() {
        let (mut n, mut out) = (Negotiation::default(), Vec::new());
        n.declare(&mut out);
        n.declare(&mut out);
        assert_eq!(out, b"MaxRecvDataSegmentLength=262144\0");
        assert_eq!(n.finish().receive_segment, RECEIVE_SEGMENT);
    }

    #[test]
    fn in_full_feature_phase_only_the_segment_changes() {
        let (mut params, mut out) = (Params::default(), Vec::new());
        let pairs = [("MaxRecvDataSegmentLength", "4096"), ("MaxBurstLength", "512"), ("X-y", "1")];
        in_full_feature(&mut params, &pairs, &mut out);
        assert_eq!((params.send_segment, params.max_burst), (4096, 256 << 10));
        assert_eq!(out, b"MaxBurstLength=Reject\0X-y=NotUnderstood\0");
    }
}
