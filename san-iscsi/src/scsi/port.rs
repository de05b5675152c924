//! Names of ports: who stands at each end of a nexus, in the forms in which SCSI writes them down.

use super::inventory::PortalId;

/// Bytes of an iSCSI name at most (RFC 7143 4.2.7.1).
pub const NAME_MAX: usize = 223;

/// An initiator port: its iSCSI name and session identifier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InitiatorPort {
    /// InitiatorName.
    pub name: String,
    /// ISID.
    pub isid: [u8; 6],
}

/// Both ends of a nexus: what a registration belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// The initiator's.
    pub initiator: InitiatorPort,
    /// The target's: a portal is a target port.
    pub portal: PortalId,
}

/// Whom a TransportID names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TransportId {
    /// One port.
    Port(InitiatorPort),
    /// All ports of an initiator.
    Device(String),
}

const ISCSI: u8 = 0x05;
const WITH_ISID: u8 = 0x40;
const SEPARATOR: &str = ",i,0x";

impl InitiatorPort {
    /// Its TransportID (SPC-4 7.6.4.6): format 01b, name and ISID, padded with zeros to a multiple of four.
    pub(crate) fn transport_id(&self) -> Vec<u8> {
        let isid: String = self.isid.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = format!("{}{SEPARATOR}{isid}\0", self.name);
        let len = text.len().next_multiple_of(4).max(20);
        let mut bytes = vec![WITH_ISID | ISCSI, 0];
        bytes.extend((len as u16).to_be_bytes());
        bytes.extend(text.as_bytes());
        bytes.resize(4 + len, 0);
        bytes
    }
}

impl TransportId {
    /// Takes one from the head of `bytes`: whom it names, and its length.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(TransportId, usize)> {
        let (&[format, _, high, low], rest) = bytes.split_first_chunk::<4>()?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len < 20 || !len.is_multiple_of(4) {
            return None;
        }
        let text = rest.get(..len)?;
        let end = text.iter().position(|byte| *byte == 0)?;
        let text = std::str::from_utf8(&text[..end]).ok()?;
        let id = match format {
            ISCSI => TransportId::Device(name(text)?),
            0x45 => {
                let (text, isid) = text.rsplit_once(SEPARATOR)?;
                TransportId::Port(InitiatorPort { name: name(text)?, isid: parse_isid(isid)? })
            }
            _ => return None,
        };
        Some((id, 4 + len))
    }
}

fn name(text: &str) -> Option<String> {
    (!text.is_empty() && text.len() <= NAME_MAX).then(|| text.to_owned())
}

fn parse_isid(text: &str) -> Option<[u8; 6]> {
    let digits = text.len() == 12 && text.bytes().all(|c| c.is_ascii_hexdigit());
    let number = digits.then(|| u64::from_str_radix(text, 16).ok())??;
    let [_, _, isid @ ..] = number.to_be_bytes();
    Some(isid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_id_reads_back() {
        let port = InitiatorPort { name: "iqn.2026-11.io.ashlar:a".to_owned(), isid: [0, 2, 3, 4, 5, 0xff] };
        let mut bytes = port.transport_id();
        let len = bytes.len();
        assert_eq!(len % 4, 0);
        bytes.extend([9; 7]);
        assert_eq!(TransportId::parse(&bytes), Some((TransportId::Port(port), len)));
    }

    #[test]
    fn a_transport_id_that_is_cut_or_foreign_is_refused() {
        let port = InitiatorPort { name: "iqn.2026-11.io.ashlar:abcdefgh".to_owned(), isid: [0; 6] };
        let bytes = port.transport_id();
        assert!((0..bytes.len()).all(|len| TransportId::parse(&bytes[..len]).is_none()));
        let mut foreign = bytes.clone();
        foreign[0] = 0x46;
        assert_eq!(TransportId::parse(&foreign), None);
        let mut named = bytes;
        named[0] = ISCSI;
        assert!(matches!(TransportId::parse(&named), Some((TransportId::Device(_), _))));
    }
}
