//! A foreign initiator tries every operation code on LUNs that it was not given: whether another host has
//! the LUN or nobody has it, the answers are the same to the byte (P6, protocol rule 12).

use ashlar_tests::daemon::Daemon;
use ashlar_tests::initiator::host::{holds, login, read, san, write};
use ashlar_tests::initiator::{cdb, Answer, Data, Initiator, Who};
use ashlar_tests::sim::Rng;
use san_iscsi::wire::{TaskFunction, TaskTag};

const FOREIGN: &str = "iqn.2026-11.io.test:foreign";

/// What is asked of a LUN: every operation code, with fields that are empty, full, and by chance.
fn questions() -> Vec<(Vec<u8>, usize)> {
    let mut rng = Rng::new(0x5eed);
    let mut all = Vec::new();
    for code in 0..=255_u8 {
        let mut chance = [0; 16];
        chance.iter_mut().for_each(|byte| *byte = rng.below(256) as u8);
        for mut block in [[0; 16], [0xff; 16], chance] {
            block[0] = code;
            let service = [0x9e, 0xa3, 0x5e, 0x5f, 0x83, 0x84].contains(&code);
            let actions = if service { 0..32 } else { 0..1 };
            for action in actions {
                if service {
                    block[1] = block[1] & 0xe0 | action;
                }
                (0..3).for_each(|way| all.push((block.to_vec(), way)));
            }
        }
    }
    all
}

fn ask(session: &mut Initiator, lun: u16, (block, way): &(Vec<u8>, usize)) -> Answer {
    let out = [0; 512];
    let data = [Data::None, Data::In(512), Data::Out(&out)][*way];
    session.run(lun, block, data).expect("an answer")
}

#[test]
fn no_command_shows_that_a_lun_of_others_exists() {
    let daemon = san(Daemon::start("foreign", 1));
    daemon.cli("volume create fast/own --size 16M");
    daemon.cli(&format!("host create foreign --iqn {FOREIGN} --network 127.0.0.0/8"));
    daemon.cli("lun map fast/own --host foreign --lun 3");
    daemon.cli("volume create fast/other --size 16M");
    daemon.cli("lun map fast/other --host me --lun 7");
    let mut owner = login(&daemon, 0, 1);
    assert!(write(&mut owner, 0, 0x42).is_good());
    let mut foreign =
        Initiator::login(daemon.ports[0], &daemon.target(), &Who::named(FOREIGN)).expect("a login");
    foreign.settle(3);
    for question in questions() {
        // 0 and 7 are the other host's; 8 and 9000 are nobody's.
        let answers = [0, 7, 8, 9000].map(|lun| ask(&mut foreign, lun, &question));
        // REPORT LUNS is answered at LUN 0 whether it is there or not: it lists what the host has.
        if question.0[0] != 0xa0 {
            assert_eq!(answers[0], answers[2], "{question:02x?}");
        }
        assert_eq!(answers[1], answers[2], "{question:02x?}");
        assert_eq!(answers[2], answers[3], "{question:02x?}");
        assert!(!answers[1].is_good() || [0x12, 0x03].contains(&question.0[0]), "{question:02x?}");
    }
    let functions = [TaskFunction::AbortTaskSet, TaskFunction::ClearTaskSet, TaskFunction::LogicalUnitReset];
    for function in functions {
        let results = [0, 7, 8].map(|lun| foreign.manage(function, lun, TaskTag(0)).expect("an answer"));
        assert!(results.iter().all(|result| *result == results[2]), "{function:?}: {results:?}");
    }
    let listed = foreign.run(0, &cdb::report_luns(64), Data::In(64)).expect("an answer").data;
    assert_eq!((listed[3], &listed[8..10]), (8, &[0, 3][..]), "its own LUN and no other");
    // The owner notices nothing: no unit attention, no reservation, its data.
    assert!(owner.run(0, &cdb::READY, Data::None).expect("an answer").is_good());
    assert!(holds(&read(&mut owner, 0), 0x42));
}
