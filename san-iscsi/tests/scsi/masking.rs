//! What a host was not given answers as though it did not exist (P6, protocol rules 12 and 13).

use super::bench::{host, mapped, name, Bench, PORTALS};
use san_iscsi::scsi::command::{Cdb, Command, LunField, Response, TaskAttribute};
use san_iscsi::scsi::inventory::{Credentials, Initiators, Login, Network, PortalId, Secret};
use san_iscsi::scsi::nexus::{Begin, TaskManagement, TaskManagementResponse};
use san_iscsi::scsi::InitiatorPort;

fn fingerprint(answer: &Response) -> String {
    format!("{answer:02x?}")
}

#[tokio::test]
async fn every_opcode_answers_alike_for_a_lun_of_another_and_for_none() {
    // LUN 1 is the first host's only; LUN 2 is nobody's.
    let bench = Bench::new().await;
    let foreign = bench.login(1).await;
    for opcode in 0..=255_u8 {
        for action in [0, 1, 2, 3, 5, 0x0a, 0x0c, 0x0d, 0x10, 0x12, 0x1f] {
            for fill in [0, 1, 0x20, 0xff] {
                let mut cdb = [fill; 16];
                cdb[..2].copy_from_slice(&[opcode, action]);
                let ask = |number| {
                    let command = Command {
                        lun: LunField::from_number(number),
                        cdb: Cdb::from_bytes(&cdb),
                        attribute: TaskAttribute::Simple,
                        data_out: 4096,
                        data_in: 4096,
                    };
                    match foreign.nexus.begin(&command) {
                        Begin::Answer(answer) => fingerprint(&answer),
                        Begin::Proceed(_) => panic!("{cdb:02x?} goes on without a LUN"),
                    }
                };
                assert_eq!(ask(1), ask(2), "{cdb:02x?}");
            }
        }
    }
    for function in [TaskManagement::AbortTaskSet, TaskManagement::LogicalUnitReset] {
        for number in [1, 2] {
            let answer = foreign.nexus.task_management(function, LunField::from_number(number)).await;
            assert_eq!(answer, TaskManagementResponse::LunDoesNotExist);
        }
    }
}

#[tokio::test]
async fn odd_lun_fields_are_no_lun() {
    let bench = Bench::new().await;
    let seat = bench.login(0).await;
    let read = |lun: [u8; 8]| {
        let mut cdb = [0; 16];
        cdb[0] = 0x12;
        cdb[4] = 36;
        let command = Command {
            lun: LunField(lun),
            cdb: Cdb::from_bytes(&cdb),
            attribute: TaskAttribute::Simple,
            data_out: 0,
            data_in: 36,
        };
        match seat.nexus.begin(&command) {
            Begin::Answer(answer) => answer.data_in[0],
            Begin::Proceed(_) => panic!("INQUIRY is answered at once"),
        }
    };
    assert_eq!((read([0; 8]), read([0x40, 0, 0, 0, 0, 0, 0, 0])), (0, 0));
    for lun in [
        [0, 0, 0, 1, 0, 0, 0, 0],
        [0x80, 0, 0, 0, 0, 0, 0, 0],
        [0xc1, 1, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(read(lun), 0x7f, "{lun:02x?}");
    }
}

fn credentials(user: &str) -> Credentials {
    let secret = Secret::new(b"0123456789abcdef".to_vec()).expect("16 bytes");
    Credentials { initiator: Login { user: user.to_owned(), secret }, target: None }
}

#[tokio::test]
async fn a_named_host_beats_any_and_strangers_get_nothing() {
    let mut any = host(9, &[(5, mapped(0))]);
    any.initiators = Initiators::Any;
    let mut bench = Bench::with(1, vec![any, host(1, &[(0, mapped(0))])]).await;
    let named = bench.try_login(1, PORTALS[0]).expect("it is named");
    assert_eq!(named.run(0, &[0x12, 0, 0, 0, 36, 0]).await.data_in[0], 0);
    let stranger = bench.try_login(7, PORTALS[0]).expect("any is any");
    assert_eq!(stranger.run(5, &[0x12, 0, 0, 0, 36, 0]).await.data_in[0], 0);
    assert_eq!(stranger.run(0, &[0x12, 0, 0, 0, 36, 0]).await.data_in[0], 0x7f);
    bench.hosts.remove(0);
    bench.apply().await;
    assert!(bench.try_login(7, PORTALS[0]).is_none());
}

#[tokio::test]
async fn an_unknown_initiator_is_asked_for_a_secret_like_a_known_one() {
    let mut bench = Bench::with(1, vec![host(0, &[(0, mapped(0))])]).await;
    bench.hosts[0].credentials = Some(credentials("a"));
    bench.apply().await;
    let source = [192, 0, 2, 1].into();
    let (known, unknown) =
        (bench.target.admit(&name(0), source, PORTALS[0]), bench.target.admit(&name(3), source, PORTALS[0]));
    assert!(known.credentials().is_some() && unknown.credentials().is_some());
    let port = |n| InitiatorPort { name: name(n), isid: [0; 6] };
    assert!(bench.target.attach(&unknown, port(3)).is_none());
    assert!(bench.target.discover(&unknown).is_none());
    assert!(bench.target.attach(&known, port(3)).is_none(), "a grant is of one initiator");
    assert_eq!(bench.target.discover(&known), Some(PORTALS.to_vec()));
    bench.hosts[0].credentials = Some(credentials("b"));
    bench.apply().await;
    assert!(bench.target.attach(&known, port(0)).is_none(), "the secret changed since");
}

#[tokio::test]
async fn networks_and_portals_limit_a_host() {
    let mut bench = Bench::with(1, vec![host(0, &[(0, mapped(0))])]).await;
    bench.hosts[0].networks = vec![Network { address: [192, 0, 2, 0].into(), prefix: 24 }];
    bench.hosts[0].portals = vec![PortalId(2)];
    bench.apply().await;
    assert!(bench.try_login(0, PORTALS[0]).is_none());
    assert!(bench.try_login(0, PORTALS[1]).is_some());
    let try_from = |source: &str| {
        let grant = bench.target.admit(&name(0), source.parse().expect("an address"), PORTALS[1]);
        bench.target.discover(&grant)
    };
    assert_eq!(try_from("::ffff:192.0.2.77"), Some(vec![PortalId(2)]), "v4-mapped peers are v4");
    assert_eq!(try_from("192.0.3.1"), None);
    assert_eq!(try_from("2001:db8::1"), None);
    let all = Network { address: "::".parse().expect("an address"), prefix: 0 };
    assert!(all.contains("2001:db8::1".parse().expect("an address")));
    assert!(!all.contains([192, 0, 2, 1].into()));
}

#[test]
fn secrets_have_bounds_and_show_nothing() {
    assert!(Secret::new(vec![b'x'; 11]).is_err() && Secret::new(vec![b'x'; 256]).is_err());
    let secret = Secret::new(b"do not show this".to_vec()).expect("16 bytes");
    assert!(!format!("{secret:?}").contains("show this"));
    assert_eq!(secret.expose(), b"do not show this");
}
