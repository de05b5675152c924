//! Registers services with the port mapper that runs on this machine (`--register-rpcbind`), over its socket.
//!
//! Invariants: nothing is registered if somebody else has registered a lock manager or a status monitor here:
//! two of them would each lose the other's locks. What we registered we take back, and what a life of ours
//! that was killed left behind counts as ours if its ports are ours.

use super::wire::{GetAddress, List3};
use super::{universal, Service, Transport, PROGRAM};
use crate::nlm::PROGRAM as NLM;
use crate::nsm::PROGRAM as NSM;
use crate::rpc::client;
use crate::xdr::{encoded, Reader, Xdr};
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Where rpcbind listens on Linux.
pub const SOCKET: &str = "/run/rpcbind.sock";

const VERSION: u32 = 4;
const SET: u32 = 1;
const UNSET: u32 = 2;
const DUMP: u32 = 4;
/// Programs of which a machine can have one only.
const SINGLE: [u32; 2] = [NLM, NSM];

/// Why services are not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterFault {
    /// No port mapper answers.
    #[error("no port mapper answers at its socket: {0}")]
    Unreachable(#[from] io::Error),
    /// Somebody else's is there already.
    #[error("program {program} is registered at port {port} already: stop it, or do not register")]
    Taken {
        /// Which program.
        program: u32,
        /// Where it is.
        port: u16,
    },
    /// It refuses to register one.
    #[error("the port mapper refuses to register program {0}")]
    Refused(u32),
}

/// Registers services.
///
/// # Errors
/// Nothing is registered then, or what was is taken back.
pub async fn register(socket: &Path, services: &[Service]) -> Result<(), RegisterFault> {
    let ours = |program, port| services.iter().any(|s| s.program == program && s.port == port);
    let answer = call(socket, DUMP, &()).await?;
    let listed =
        List3::get(&mut Reader::new(answer)).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    for line in listed.0 {
        let address = std::str::from_utf8(&line.address.0).ok().and_then(super::from_universal);
        // A line that cannot be read (of a socket of this machine, say) is not of the network.
        let Some(port) = address.map(|address| address.port()) else { continue };
        if SINGLE.contains(&line.program) && !ours(line.program, port) {
            return Err(RegisterFault::Taken { program: line.program, port });
        }
    }
    unregister(socket, services).await;
    for service in services {
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            let set = call(socket, SET, &line(service, any)).await?;
            if bool::get(&mut Reader::new(set)) != Ok(true) {
                unregister(socket, services).await;
                return Err(RegisterFault::Refused(service.program));
            }
        }
    }
    Ok(())
}

/// Takes services back, as far as they are registered.
pub async fn unregister(socket: &Path, services: &[Service]) {
    for service in services {
        for any in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
            drop(call(socket, UNSET, &line(service, any)).await);
        }
    }
}

fn line(service: &Service, any: IpAddr) -> GetAddress {
    let Service { program, version, transport, port } = *service;
    let netid = Transport::netid(transport, any).to_owned().into();
    let address = universal(SocketAddr::new(any, port)).into();
    GetAddress { program, version, netid, address, owner: "ashlar".to_owned().into() }
}

/// One call, on a connection of its own.
async fn call(socket: &Path, procedure: u32, arguments: &impl Xdr) -> io::Result<Bytes> {
    const XID: u32 = 1;
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        let call = client::encode(XID, (PROGRAM, VERSION), procedure, &encoded(arguments));
        client::exchange(&mut stream, &call).await
    };
    let answer = timeout(client::PATIENCE, exchange).await.map_err(|_| io::ErrorKind::TimedOut)??;
    client::results(answer, XID).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Budget;
    use crate::rpc::program::{Answer, Program};
    use crate::rpc::record::framed;
    use crate::rpc::{Call, Ends, Outcome, Programs};
    use std::sync::{Arc, Mutex};
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    /// A port mapper of a machine: it takes SET and UNSET, and refuses one program.
    #[derive(Default)]
    struct Machine {
        lines: Mutex<Vec<GetAddress>>,
        refuses: Option<u32>,
    }

    impl Program for Machine {
        fn number(&self) -> u32 {
            PROGRAM
        }

        fn versions(&self) -> std::ops::RangeInclusive<u32> {
            4..=4
        }

        fn call(self: Arc<Self>, mut call: Call) -> Answer {
            let mut lines = self.lines.lock().unwrap();
            let outcome = match call.procedure {
                DUMP => Outcome::done(&crate::xdr::List(lines.clone())),
                procedure => {
                    let line = GetAddress::get(&mut call.arguments).unwrap();
                    let same = |l: &GetAddress| {
                        (l.program, l.version, &l.netid) == (line.program, line.version, &line.netid)
                    };
                    let taken = lines.iter().any(same);
                    match procedure {
                        UNSET => lines.retain(|l| !same(l)),
                        _ if self.refuses == Some(line.program) || taken => {
                            return Box::pin(std::future::ready(Outcome::done(&false)))
                        }
                        _ => lines.push(line),
                    }
                    Outcome::done(&true)
                }
            };
            Box::pin(std::future::ready(outcome))
        }
    }

    async fn serve(listener: UnixListener, machine: Arc<Machine>) {
        let programs = Programs::new(vec![machine]);
        let anywhere = "127.0.0.1:1".parse().unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let len = stream.read_u32().await.unwrap() & 0x7fff_ffff;
            let mut call = vec![0; len as usize];
            stream.read_exact(&mut call).await.unwrap();
            let ends = Ends::new(anywhere, anywhere);
            let (xid, answer) =
                programs.begin(call.into(), None, ends, &Budget::new(1 << 20), Instant::now()).unwrap();
            let answer = answer.unwrap().await.into_datagram(xid);
            stream.write_all(&framed(&answer, 7)).await.unwrap();
        }
    }

    fn services() -> Vec<Service> {
        let service = |program, version, port| Service { program, version, transport: Transport::Tcp, port };
        vec![service(100_003, 3, 2049), service(NLM, 4, 40_001), service(NSM, 1, 40_002)]
    }

    /// What is registered after `services` were, where `before` was registered and a program is refused.
    async fn outcome(before: &[Service], refuses: Option<u32>) -> (Result<(), RegisterFault>, usize) {
        let directory = std::env::temp_dir().join(format!("ashlar-rpcbind-{}", number()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("socket");
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let lines = Mutex::new(before.iter().map(|service| line(service, any)).collect());
        let machine = Arc::new(Machine { lines, refuses });
        let server = tokio::spawn(serve(UnixListener::bind(&path).unwrap(), Arc::clone(&machine)));
        let result = register(&path, &services()).await;
        server.abort();
        std::fs::remove_dir_all(&directory).unwrap();
        let count = machine.lines.lock().unwrap().len();
        (result, count)
    }

    fn number() -> u64 {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    #[tokio::test]
    async fn services_are_registered_for_both_families() {
        let (result, count) = outcome(&[], None).await;
        assert!(result.is_ok());
        assert_eq!(count, 6);
    }

    #[tokio::test]
    async fn what_a_killed_life_of_ours_left_is_replaced() {
        let (result, count) = outcome(&services(), None).await;
        assert!(result.is_ok());
        assert_eq!(count, 6);
    }

    #[tokio::test]
    async fn somebody_elses_lock_manager_or_status_monitor_is_left_alone() {
        for program in [NLM, NSM] {
            let theirs = Service { program, version: 1, transport: Transport::Udp, port: 999 };
            let (result, count) = outcome(&[theirs], None).await;
            assert!(matches!(result, Err(RegisterFault::Taken { port: 999, .. })), "{result:?}");
            assert_eq!(count, 1);
        }
    }

    #[tokio::test]
    async fn a_refusal_leaves_nothing_behind() {
        let (result, count) = outcome(&[], Some(NSM)).await;
        assert!(matches!(result, Err(RegisterFault::Refused(NSM))), "{result:?}");
        assert_eq!(count, 0);
    }

    #[tokio::test]
    async fn no_port_mapper_is_a_fault_that_says_so() {
        let fault = register(Path::new("/nonexistent/socket"), &services()).await.unwrap_err();
        assert!(matches!(fault, RegisterFault::Unreachable(_)));
    }
}
