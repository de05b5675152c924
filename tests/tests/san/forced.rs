//! What an administrator is refused while hosts live on it, and what `--force` does to them (protocol rule
//! 14); and a pool that does not open (rule 5).

use ashlar_tests::daemon::Daemon;
use ashlar_tests::initiator::host::{flush, holds, login, read, san, try_login, write, LEN};
use ashlar_tests::initiator::{cdb, Data, Initiator};

/// The session is ended by the target.
fn ends(mut session: Initiator) {
    while session.pump().is_ok() {}
}

/// The daemon refuses while a session lives, and says so; nothing has changed.
fn refuses(daemon: &Daemon, session: &mut Initiator, command: &str) {
    let line = daemon.refused(command);
    assert!(line.contains("session") || line.contains("given to hosts"), "{command}: {line}");
    assert!(write(session, 64, 1).is_good());
}

/// What a command to LUN 0 is told first.
fn told(session: &mut Initiator) -> Option<(u8, u8, u8)> {
    session.run(0, &cdb::READY, Data::None).expect("an answer").sense
}

#[test]
fn rollback_shrink_and_delete_need_force_while_a_session_lives() {
    let daemon = san(Daemon::start("forced", 1));
    let mut session = login(&daemon, 0, 1);
    assert!(write(&mut session, 0, 1).is_good());
    daemon.cli("snapshot create fast/db@before");
    assert!(write(&mut session, 0, 2).is_good());
    refuses(&daemon, &mut session, "snapshot rollback fast/db@before --yes");
    daemon.cli("snapshot rollback fast/db@before --yes --force");
    ends(session);
    let mut session = try_login(&daemon, 0, 1).expect("it may come back");
    assert_eq!(told(&mut session), Some((6, 0x29, 0)));
    session.settle(0);
    assert!(holds(&read(&mut session, 0), 1), "what the snapshot has");

    refuses(&daemon, &mut session, "volume resize fast/db --size 32M --yes");
    daemon.cli("volume resize fast/db --size 32M --yes --force");
    ends(session);
    let mut session = login(&daemon, 0, 1);
    let beyond = session.run(0, &cdb::read(65536, 8), Data::In(LEN as u32)).expect("an answer");
    assert_eq!(beyond.sense, Some((5, 0x21, 0)));
    assert!(holds(&read(&mut session, 0), 1));

    // Growing hurts nobody: the session lives, and hears of it.
    daemon.cli("volume resize fast/db --size 128M");
    assert_eq!(told(&mut session), Some((6, 0x2a, 9)));
    assert!(session.run(0, &cdb::read(200_000, 8), Data::In(LEN as u32)).expect("an answer").is_good());

    refuses(&daemon, &mut session, "volume delete fast/db --snapshots --yes");
    daemon.cli("volume delete fast/db --snapshots --yes --force");
    ends(session);
    let mut session = try_login(&daemon, 0, 1).expect("the host is still known");
    assert_eq!(told(&mut session), Some((5, 0x25, 0)), "the LUN is gone");
    let listed = session.run(0, &cdb::report_luns(64), Data::In(64)).expect("an answer");
    assert_eq!(listed.data[..4], [0; 4]);
}

#[test]
fn luns_of_a_damaged_pool_stay_and_are_not_ready() {
    let mut daemon = san(Daemon::start("damaged", 1));
    daemon.cli("pool create bad --device rotten:1G");
    daemon.cli("volume create bad/db --size 16M");
    daemon.cli("lun map bad/db --host me");
    let mut session = login(&daemon, 0, 1);
    assert!(write(&mut session, 0, 1).is_good() && flush(&mut session).is_good());
    let inquiry = [0x12, 1, 0x83, 0, 255, 0];
    let before = session.run(1, &inquiry, Data::In(255)).expect("an answer").data;
    assert!(daemon.stop(), "{}", daemon.log());
    // Both superblocks are gone.
    let file = std::fs::OpenOptions::new().write(true).open(daemon.dir().join("rotten")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 1 << 20], 0).unwrap();
    daemon.run();
    let status = daemon.cli("status");
    assert!(status.contains("! pool bad: ") && status.contains("rotten"), "{status}");
    let mut session = login(&daemon, 0, 1);
    let listed = session.run(0, &cdb::report_luns(64), Data::In(64)).expect("an answer");
    assert_eq!(listed.data[..4], 16_u32.to_be_bytes(), "both LUNs are listed");
    let after = session.run(1, &inquiry, Data::In(255)).expect("an answer").data;
    assert_eq!(before, after, "the LUN is the same device as ever");
    let ask = |session: &mut Initiator, block: &[u8], data| session.run(1, block, data).expect("an answer");
    while ask(&mut session, &cdb::READY, Data::None).sense == Some((6, 0x29, 0)) {}
    let not_ready = Some((2, 4, 3));
    assert_eq!(ask(&mut session, &cdb::READY, Data::None).sense, not_ready);
    assert_eq!(ask(&mut session, &cdb::read(0, 8), Data::In(4096)).sense, not_ready);
    assert_eq!(ask(&mut session, &cdb::write(0, 8), Data::Out(&[0; LEN])).sense, not_ready);
    assert_eq!(ask(&mut session, &cdb::FLUSH, Data::None).sense, not_ready);
    assert!(holds(&read(&mut session, 0), 1), "the other pool is served");
    assert!(daemon.refused("volume create bad/more --size 1M").contains("bad"));
}
