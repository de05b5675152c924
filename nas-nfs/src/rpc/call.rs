//! The head of a call (RFC 5531 9) and its credentials: AUTH_NONE, and AUTH_SYS with all its groups.

use super::reply::{AuthFault, Outcome};
use crate::memory::Budget;
use crate::xdr::{xdr_struct, Array, Reader, Xdr, XdrFault};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// The version of RPC.
pub const RPC_VERSION: u32 = 2;
/// Bytes of credentials or of a verifier, at most (RFC 5531 8.2).
pub const AUTH_MAX: usize = 400;
/// Bytes of a machine's name, at most.
const MACHINE_MAX: usize = 255;
/// Groups beside the first one, at most.
pub const GROUPS_MAX: usize = 16;

/// msg_type.
const CALL: u32 = 0;
/// Nobody says who is there.
const AUTH_NONE: u32 = 0;
/// The client says who is there.
const AUTH_SYS: u32 = 1;

xdr_struct! {
    /// opaque_auth as it travels (RFC 5531 8.2).
    pub struct OpaqueAuth {
        /// Its kind.
        pub flavor: u32,
        /// What it says.
        pub body: Bytes,
    }
}

/// Who a client says that its user is (RFC 5531 appendix A).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSys {
    /// Any number.
    pub stamp: u32,
    /// What the client calls itself.
    pub machine: Bytes,
    /// The user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its other groups, at most 16.
    pub groups: Array<u32, GROUPS_MAX>,
}

impl Xdr for AuthSys {
    fn get(input: &mut Reader) -> Result<AuthSys, XdrFault> {
        Ok(AuthSys {
            stamp: Xdr::get(input)?,
            machine: input.opaque(MACHINE_MAX)?,
            uid: Xdr::get(input)?,
            gid: Xdr::get(input)?,
            groups: Xdr::get(input)?,
        })
    }

    fn put(&self, output: &mut crate::xdr::Writer) {
        self.stamp.put(output);
        self.machine.put(output);
        self.uid.put(output);
        self.gid.put(output);
        self.groups.put(output);
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    None,
    /// A user of a client that is believed.
    Sys(AuthSys),
}

impl Credentials {
    fn get(auth: OpaqueAuth) -> Result<Credentials, AuthFault> {
        match auth.flavor {
            _ if auth.body.len() > AUTH_MAX => Err(AuthFault::BadCredentials),
            AUTH_NONE => Ok(Credentials::None),
            AUTH_SYS => {
                let sys = AuthSys::get(&mut Reader::new(auth.body));
                sys.map(Credentials::Sys).map_err(|_| AuthFault::BadCredentials)
            }
            _ => Err(AuthFault::RejectedCredentials),
        }
    }

    /// As they travel.
    #[must_use]
    pub fn to_auth(&self) -> OpaqueAuth {
        match self {
            Credentials::None => OpaqueAuth { flavor: AUTH_NONE, body: Bytes::new() },
            Credentials::Sys(sys) => OpaqueAuth { flavor: AUTH_SYS, body: crate::xdr::encoded(sys).into() },
        }
    }
}

xdr_struct! {
    /// The fixed start of every call.
    pub struct Head {
        /// The caller's number of it.
        pub xid: u32,
        /// msg_type: 0.
        pub kind: u32,
        /// RPC's version: 2.
        pub rpc_version: u32,
        /// Which program.
        pub program: u32,
        /// Which version of it.
        pub version: u32,
        /// Which procedure.
        pub procedure: u32,
    }
}

impl Head {
    /// Bytes of it.
    pub const LEN: usize = 24;
}

/// The two ends of a connection, v4-mapped addresses written as what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The caller.
    pub peer: SocketAddr,
    /// Where it came to.
    pub local: SocketAddr,
}

impl Ends {
    /// Ends as a socket names them.
    #[must_use]
    pub fn new(peer: SocketAddr, local: SocketAddr) -> Ends {
        let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Ends { peer: plain(peer), local: plain(local) }
    }

    /// Whom the caller's memory and connections are counted for.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.peer.ip()
    }
}

/// A call that a program is to answer.
pub struct Call {
    /// The caller's number of it.
    pub xid: u32,
    /// Which version of the program.
    pub version: u32,
    /// Which procedure.
    pub procedure: u32,
    /// Who calls.
    pub credentials: Credentials,
    /// From where.
    pub ends: Ends,
    /// The arguments.
    pub arguments: Reader,
    /// Where memory for a large answer comes from.
    pub budget: Budget,
    /// When it came, on the monotonic clock.
    pub now: Instant,
}

/// A call as far as RPC itself understands it.
#[derive(Debug)]
pub struct Parsed {
    /// Its start.
    pub head: Head,
    /// Who calls, or how the call is refused for it.
    pub credentials: Result<Credentials, AuthFault>,
    /// The arguments.
    pub arguments: Reader,
}

/// What is wrong with a call.
#[derive(Debug, PartialEq, Eq)]
pub enum CallFault {
    /// It is no call: the stream cannot be followed.
    NotACall,
    /// It is answered like this.
    Answer(u32, Outcome),
}

/// Takes a record apart.
///
/// # Errors
/// RPC itself answers, or cannot follow.
pub fn parse(head: Bytes, payload: Option<Bytes>) -> Result<Parsed, CallFault> {
    let mut input = Reader::with_payload(head, payload);
    let head = Head::get(&mut input).map_err(|_| CallFault::NotACall)?;
    if head.kind != CALL {
        return Err(CallFault::NotACall);
    }
    if head.rpc_version != RPC_VERSION {
        return Err(CallFault::Answer(head.xid, Outcome::RpcMismatch));
    }
    let garbage = |_| CallFault::Answer(head.xid, Outcome::GarbageArguments);
    let credentials = OpaqueAuth::get(&mut input).map_err(garbage)?;
    let verifier = OpaqueAuth::get(&mut input).map_err(garbage)?;
    let credentials = match Credentials::get(credentials) {
        Ok(_) if verifier.body.len() > AUTH_MAX => Err(AuthFault::BadVerifier),
        credentials => credentials,
    };
    Ok(Parsed { head, credentials, arguments: input })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::{encoded, Writer};

    fn user(groups: u32) -> Credentials {
        let groups = Array((0..groups).collect());
        Credentials::Sys(AuthSys { stamp: 1, machine: "host".into(), uid: 5, gid: 6, groups })
    }

    fn record(head: &Head, credentials: &OpaqueAuth, arguments: &[u8]) -> Bytes {
        let mut output = Writer::default();
        head.put(&mut output);
        credentials.put(&mut output);
        Credentials::None.to_auth().put(&mut output);
        output.raw(arguments);
        output.bytes.into()
    }

    fn head() -> Head {
        Head { xid: 77, kind: 0, rpc_version: 2, program: 100_003, version: 3, procedure: 1 }
    }

    #[test]
    fn a_call_says_who_and_what() {
        for credentials in [Credentials::None, user(0), user(16)] {
            let call = parse(record(&head(), &credentials.to_auth(), &[1, 2, 3, 4]), None).expect("valid");
            assert_eq!(call.head, head());
            assert_eq!(call.credentials, Ok(credentials));
            assert_eq!(call.arguments.rest(), [1, 2, 3, 4]);
        }
    }

    #[test]
    fn what_is_no_call_ends_the_stream() {
        let reply = Head { kind: 1, ..head() };
        let fault = parse(record(&reply, &user(1).to_auth(), &[]), None).map(|_| ());
        assert_eq!(fault, Err(CallFault::NotACall));
        assert_eq!(parse(Bytes::from_static(&[0; 23]), None).map(|_| ()), Err(CallFault::NotACall));
    }

    #[test]
    fn faults_are_answered_by_their_kind() {
        let other = Head { rpc_version: 3, ..head() };
        let fault = parse(record(&other, &user(1).to_auth(), &[]), None).map(|_| ());
        assert_eq!(fault, Err(CallFault::Answer(77, Outcome::RpcMismatch)));
        let short = record(&head(), &user(1).to_auth(), &[]);
        let fault = parse(short.slice(..60), None).map(|_| ());
        assert_eq!(fault, Err(CallFault::Answer(77, Outcome::GarbageArguments)));
        let gss = OpaqueAuth { flavor: 6, body: Bytes::new() };
        let too_long = OpaqueAuth { flavor: 0, body: vec![0; 401].into() };
        let mut groups = encoded(&match user(16) {
            Credentials::Sys(sys) => sys,
            Credentials::None => unreachable!(),
        });
        groups[4 + 4 + 4 + 8 + 3] = 17;
        let many = OpaqueAuth { flavor: 1, body: groups.into() };
        for (auth, fault) in [
            (gss, AuthFault::RejectedCredentials),
            (too_long, AuthFault::BadCredentials),
            (many, AuthFault::BadCredentials),
        ] {
            let call = parse(record(&head(), &auth, &[]), None).expect("it can be answered");
            assert_eq!(call.credentials, Err(fault));
        }
    }

    #[test]
    fn a_mapped_address_is_the_one_it_maps() {
        let peer = "[::ffff:10.1.2.3]:700".parse().expect("valid");
        assert_eq!(Ends::new(peer, peer).source(), IpAddr::from([10, 1, 2, 3]));
    }
}
