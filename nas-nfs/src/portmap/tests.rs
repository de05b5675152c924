//! What clients of the port mapper get: rpcinfo, showmount and the kernel's own questions.

use super::*;
use crate::memory::Budget;
use crate::rpc::{client, Credentials, Ends, Programs};
use crate::udp;
use crate::xdr::{encoded, Writer};
use bytes::Bytes;
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

const NFS: u32 = 100_003;

fn portmap() -> Arc<Portmap> {
    let service = |program, version, transport, port| Service { program, version, transport, port };
    Arc::new(Portmap::new(vec![
        service(NFS, 3, Transport::Tcp, 2049),
        service(100_005, 3, Transport::Tcp, 20_048),
        service(100_005, 3, Transport::Udp, 20_049),
    ]))
}

async fn ask(version: u32, procedure: u32, arguments: Vec<u8>, local: &str) -> Outcome {
    let local = local.parse().unwrap();
    let call = Call {
        xid: 1,
        version,
        procedure,
        credentials: Credentials::None,
        ends: Ends::new(local, local),
        arguments: Reader::new(arguments.into()),
        budget: Budget::new(1 << 20),
        now: Instant::now(),
    };
    portmap().call(call).await
}

fn get_port(program: u32, version: u32, protocol: u32) -> Vec<u8> {
    encoded(&GetPort { program, version, protocol, port: 0 })
}

fn get_address(program: u32, netid: &str) -> Vec<u8> {
    let text = |text: &str| text.to_owned().into();
    encoded(&GetAddress { program, version: 3, netid: text(netid), address: text(""), owner: text("") })
}

fn text(outcome: Outcome) -> String {
    let Outcome::Done(results) = outcome else { panic!("{outcome:?}") };
    let text = wire::Text::get(&mut Reader::new(results.output.into_bytes().into())).unwrap();
    String::from_utf8(text.0.to_vec()).unwrap()
}

#[tokio::test]
async fn version_2_tells_a_port() {
    for (program, version, protocol, expected) in [
        (NFS, 3, 6, 2049_u32),
        (NFS, 3, 17, 0),
        (NFS, 4, 6, 2049),
        (100_005, 3, 17, 20_049),
        (7, 1, 6, 0),
        (NFS, 3, 99, 0),
    ] {
        let port = ask(2, GET, get_port(program, version, protocol), "127.0.0.1:111").await;
        assert_eq!(port, Outcome::done(&expected), "{program} {version} {protocol}");
    }
    assert_eq!(ask(2, GET, vec![0; 15], "127.0.0.1:111").await, Outcome::GarbageArguments);
}

#[tokio::test]
async fn versions_3_and_4_tell_the_address_that_was_asked() {
    for (local, netid, expected) in [
        ("10.0.0.1:111", "tcp", "10.0.0.1.8.1"),
        ("[fd00::1]:111", "tcp6", "fd00::1.8.1"),
        ("[::ffff:10.0.0.1]:111", "tcp", "10.0.0.1.8.1"),
        ("10.0.0.1:111", "udp", ""),
        ("10.0.0.1:111", "sctp", ""),
    ] {
        for version in [3, 4] {
            assert_eq!(text(ask(version, GET, get_address(NFS, netid), local).await), expected);
        }
    }
    let long = get_address(NFS, &"x".repeat(129));
    assert_eq!(ask(4, GET, long, "10.0.0.1:111").await, Outcome::GarbageArguments);
}

#[tokio::test]
async fn dump_lists_all_and_nothing_can_be_set_or_called() {
    let Outcome::Done(results) = ask(2, DUMP, Vec::new(), "127.0.0.1:1").await else { panic!("no list") };
    let lines = List2::get(&mut Reader::new(results.output.into_bytes().into())).unwrap();
    assert_eq!(lines.0.len(), 3);
    let Outcome::Done(results) = ask(4, DUMP, Vec::new(), "[::1]:1").await else { panic!("no list") };
    let lines = List3::get(&mut Reader::new(results.output.into_bytes().into())).unwrap();
    assert_eq!((lines.0.len(), &lines.0[0].netid.0[..]), (3, &b"tcp6"[..]));
    for version in 2..=4 {
        assert_eq!(ask(version, NULL, Vec::new(), "127.0.0.1:1").await, Outcome::done(&()));
        for procedure in [1, 2, 5, 6, 9, 12] {
            let answer = ask(version, procedure, vec![0; 64], "127.0.0.1:1").await;
            assert_eq!(answer, Outcome::ProcedureUnavailable, "{version} {procedure}");
        }
    }
}

#[test]
fn universal_addresses_lead_back() {
    for address in ["10.0.0.1:2049", "[fd00::1]:65535", "0.0.0.0:0"] {
        let address = address.parse().unwrap();
        assert_eq!(from_universal(&universal(address)), Some(address));
    }
    for text in ["", "1.2.3.4", "1.2.3.4.5", "1.2.3.4.256.1", "a.b.c.d.1.1", "/run/x.sock", "1.2.3.4.1.1.1"] {
        assert_eq!(from_universal(text), None, "{text}");
    }
}

/// Over a real socket, by our own client: strangers get nothing, and long answers nobody.
#[tokio::test]
async fn over_udp_only_the_admitted_get_short_answers() {
    let mut many = portmap().services.clone();
    many.extend((0..40).map(|n| Service { program: 9, version: n, transport: Transport::Udp, port: 9 }));
    for (services, admitted, procedure, answered) in [
        (portmap().services.clone(), true, DUMP, true),
        (portmap().services.clone(), false, DUMP, false),
        (many.clone(), true, DUMP, false),
        (many, true, NULL, true),
    ] {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let programs = Programs::new(vec![Arc::new(Portmap::new(services))]);
        let server = tokio::spawn(udp::serve(socket, programs, move |_| admitted));
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.send_to(&client::encode(5, (PROGRAM, 2), procedure, &[]), address).await.unwrap();
        let mut answer = [0; 2000];
        let wait = Duration::from_millis(if answered { 10_000 } else { 300 });
        let received = tokio::time::timeout(wait, client.recv(&mut answer)).await;
        assert_eq!(received.is_ok(), answered, "admitted {admitted}, procedure {procedure}");
        if let Ok(len) = received {
            let len = len.unwrap();
            assert!(len <= udp::ANSWER_MAX);
            assert!(client::results(Bytes::copy_from_slice(&answer[..len]), 5).is_some());
        }
        server.abort();
    }
}

#[tokio::test]
async fn our_own_client_finds_a_program_and_calls_it() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let service = Service { program: PROGRAM, version: 2, transport: Transport::Udp, port };
    let programs = Programs::new(vec![Arc::new(Portmap::new(vec![service]))]);
    let server = tokio::spawn(udp::serve(socket, programs, |_| true));
    let local = "127.0.0.1".parse().unwrap();
    let peer = client::Peer { address: local, local, portmap: port };
    let mut arguments = Writer::default();
    arguments.raw(&get_port(PROGRAM, 2, 17));
    let answer = client::call(&peer, (PROGRAM, 2), GET, &arguments.into_bytes()).await.unwrap();
    assert_eq!(u32::get(&mut Reader::new(answer)), Ok(u32::from(port)));
    let absent = client::call(&peer, (7, 1), 0, &[]).await.unwrap_err();
    assert_eq!(absent.kind(), std::io::ErrorKind::NotFound);
    server.abort();
}
