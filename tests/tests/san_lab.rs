//! The shipped daemon and the initiator of a real Linux kernel, one story a guest. What happens in a story is
//! in its script in `tests/lab/guest`, which administers the server too, by the `ashlar` command;
//! `docs/testing.md` says how to run one by hand.

use ashlar_tests::lab::{Lab, INITIATOR};

/// A server with `portals` portals, a pool of 512 MiB, the guest as a host, and the volumes (name, size) as
/// its LUNs from 0 on.
fn lab(test: &str, portals: u16, volumes: &[(&str, &str)]) -> Option<Lab> {
    lab_of("512M", test, portals, volumes)
}

/// As [`lab`], with a pool of another size.
fn lab_of(pool: &str, test: &str, portals: u16, volumes: &[(&str, &str)]) -> Option<Lab> {
    let lab = Lab::start(test, portals)?;
    lab.daemon.cli(&format!("pool create fast --device disk:{pool}"));
    lab.daemon.cli(&format!("host create guest --iqn {INITIATOR} --network 10.77.0.0/16"));
    for (name, size) in volumes {
        lab.daemon.cli(&format!("volume create fast/{name} --size {size}"));
        lab.daemon.cli(&format!("lun map fast/{name} --host guest"));
    }
    Some(lab)
}

#[test]
fn file_systems_are_kept_and_give_their_space_back() {
    let Some(mut lab) = Lab::start("file_systems_are_kept_and_give_their_space_back", 1) else { return };
    lab.daemon.cli("pool create fast --device disk:512M");
    lab.guest("filesystems.sh");
}

#[test]
fn a_kill_of_the_server_under_load_is_a_pause() {
    let Some(mut lab) = lab("a_kill_of_the_server_under_load_is_a_pause", 1, &[("load", "256M")]) else {
        return;
    };
    lab.guest("restart.sh");
}

#[test]
fn a_dying_path_costs_no_io() {
    let Some(mut lab) = lab("a_dying_path_costs_no_io", 2, &[("paths", "256M")]) else { return };
    lab.guest("multipath.sh");
}

#[test]
fn what_the_administrator_changes_is_heard_of() {
    let Some(mut lab) = lab("what_the_administrator_changes_is_heard_of", 1, &[("live", "64M")]) else {
        return;
    };
    lab.guest("live.sh");
}

#[test]
fn sg3_utils_find_what_they_ask_for() {
    let volumes = [("disk", "64M"), ("other", "64M")];
    let Some(mut lab) = lab("sg3_utils_find_what_they_ask_for", 2, &volumes) else { return };
    lab.guest("commands.sh");
}

#[test]
fn a_full_pool_is_an_honest_state() {
    let Some(mut lab) = lab_of("256M", "a_full_pool_is_an_honest_state", 1, &[("big", "1G")]) else { return };
    lab.guest("full.sh");
}

#[test]
fn whatever_initiators_negotiate_data_arrive_whole() {
    let Some(mut lab) = lab("whatever_initiators_negotiate_data_arrive_whole", 1, &[("one", "64M")]) else {
        return;
    };
    lab.guest("settings.sh");
}

#[test]
fn a_kernel_sees_each_kind_of_lun_as_it_is() {
    let Some(mut lab) = lab("a_kernel_sees_each_kind_of_lun_as_it_is", 1, &[]) else { return };
    lab.guest("luns.sh");
}
