//! Text exchanges in full feature phase (RFC 7143 7.1, 11.10): SendTargets, and the few keys that may still
//! change.
//!
//! Invariants: one exchange at a time; request and response may both be split over PDUs, the request is
//! bounded; a discovery session may ask for all targets, another one for its own only.

use super::full_feature::FullFeature;
use super::io::Io;
use super::negotiation::in_full_feature;
use crate::lun::LogicalUnit;
use crate::wire::text::{self, put, Collector};
use crate::wire::{Reject, RejectReason, TextRequest, TextResponse, TransferTag};

/// SendTargets in one request: an initiator has one question.
const QUESTIONS: usize = 16;

/// The exchange that is going on.
#[derive(Default)]
pub(super) struct TextExchange {
    request: Collector,
    /// What is left of the response, and the tag that asks for it.
    rest: Vec<u8>,
    transfer: Option<TransferTag>,
}

impl<L: LogicalUnit> FullFeature<L> {
    /// A request has its turn.
    pub(super) fn on_text(&mut self, request: &TextRequest, data: &[u8], io: &mut Io<L>) {
        if request.transfer.is_none() {
            self.text = TextExchange::default(); // a new exchange: the old one is forgotten
        } else if request.transfer != self.text.transfer {
            return self.reject_text(request, io);
        }
        if !self.text.rest.is_empty() {
            return self.put_text(request, io);
        }
        let whole = match self.text.request.take(data, request.more) {
            Ok(Some(whole)) => whole,
            Ok(None) => return self.put_text(request, io),
            Err(_) => return self.reject_text(request, io),
        };
        let Ok(pairs) = text::parse(&whole) else { return self.reject_text(request, io) };
        let (targets, keys): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(key, _)| *key == "SendTargets");
        if targets.len() > QUESTIONS {
            return self.reject_text(request, io); // the answer would be out of all proportion
        }
        let mut out = Vec::new();
        for (_, which) in targets {
            self.send_targets(which, &mut out);
        }
        in_full_feature(&mut self.params, &keys, &mut out);
        self.text.rest = out;
        self.put_text(request, io);
    }

    /// Tells the target's name and addresses, as far as the initiator may know them.
    fn send_targets(&mut self, which: &str, out: &mut Vec<u8>) {
        let discovery = self.nexus.is_none();
        let own = which.eq_ignore_ascii_case(self.portal.target.name());
        match which {
            "All" if discovery => {}
            "" if !discovery => {}
            _ if own => {}
            "All" | "" => return put(out, "SendTargets", "Reject"),
            _ => return, // a target that is not here
        }
        let allowed = self.portal.target.discover(&self.grant).unwrap_or_default();
        if !allowed.is_empty() {
            self.portal.put_target(self.ends, &allowed, out);
        }
    }

    /// Sends as much of the response as fits in a PDU.
    fn put_text(&mut self, request: &TextRequest, io: &mut Io<L>) {
        let len = self.text.rest.len().min(self.params.send_segment as usize);
        let piece: Vec<u8> = self.text.rest.drain(..len).collect();
        let more = !self.text.rest.is_empty();
        let last = !more && request.last;
        self.text.transfer = (!last).then(|| self.next_transfer());
        let (window, transfer) = (self.status(io), self.text.transfer);
        io.out.put(TextResponse { window, last, more, task: request.task, transfer }.emit(), &piece);
    }

    /// Refuses a request, and ends the exchange.
    fn reject_text(&mut self, request: &TextRequest, io: &mut Io<L>) {
        self.text = TextExchange::default();
        let window = self.status(io);
        io.out.put(Reject { window, reason: RejectReason::Protocol }.emit(), &request.emit());
    }
}
