//! A virtual machine whose only disk is a LUN, by QEMU's own iSCSI driver: firmware, boot loader, kernel and
//! data come from it. Its image was written to another volume with `qemu-img convert`; what boots are clones.

use ashlar_tests::daemon::{installed, Daemon};
use ashlar_tests::skip::skip;
use ashlar_tests::{lab, source};
use std::path::{Path, PathBuf};
use std::process::Command;

const ME: &str = "iqn.2026-11.io.test:hypervisor";

/// How long a machine may take, in seconds: each instruction is emulated.
const MACHINE_SECONDS: &str = "120";

/// What QEMU needs to find LUN `lun`.
fn drive(daemon: &Daemon, lun: u16) -> String {
    let portal = format!("file.portal=127.0.0.1:{}", daemon.ports[0]);
    let disk = format!("file.target={},file.lun={lun},file.initiator-name={ME}", daemon.target());
    format!("file.driver=iscsi,file.transport=tcp,{portal},{disk}")
}

/// Runs a command that must succeed, and gives its output.
fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Boots the machine whose disk is LUN `lun`, and gives what it said until it switched itself off.
fn boot(daemon: &Daemon, lun: u16, tools: &Path) -> String {
    let mut command = Command::new("timeout");
    command.arg(MACHINE_SECONDS).arg(tools.join("usr/bin/qemu-system-x86_64"));
    command.env("LD_LIBRARY_PATH", tools.join("usr/lib/x86_64-linux-gnu"));
    for firmware in ["usr/share/qemu", "usr/share/seabios"] {
        command.arg("-L").arg(tools.join(firmware));
    }
    command.args("-nodefaults -no-user-config -no-reboot -display none -serial stdio".split(' '));
    command.args("-accel tcg -cpu max -m 256".split(' ')).arg("-drive");
    run(command.arg(format!("if=virtio,format=raw,cache=none,discard=unmap,{}", drive(daemon, lun))))
}

/// A small machine's disk, as a qcow2 file.
fn image(dir: &Path) -> PathBuf {
    let (raw, packed) = (dir.join("machine.raw"), dir.join("machine.qcow2"));
    run(Command::new(source::root().join("tests/lab/machine-image.sh")).arg(&raw));
    run(Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).args([&raw, &packed]));
    packed
}

#[test]
fn a_machine_boots_from_a_clone_of_an_image() {
    let test = "a_machine_boots_from_a_clone_of_an_image";
    let cache = lab::cache().filter(|dir| dir.join("machine/vmlinuz").exists());
    let Some(cache) = cache else { return skip(test, "no QEMU to boot: run tests/lab/setup.sh as root") };
    if !installed("qemu-img") {
        return skip(test, "qemu-img is not installed");
    }
    let tools = cache.join("tools");
    let mut daemon = Daemon::start("machine", 1);
    daemon.cli("pool create fast --device disk:1G");
    daemon.cli("volume create fast/golden --size 40M");
    daemon.cli(&format!("host create hypervisor --iqn {ME} --network 127.0.0.0/8"));
    daemon.cli("lun map fast/golden --host hypervisor");
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-n", "-f", "qcow2", "--target-image-opts"]).arg(image(daemon.dir()));
    run(convert.arg(format!("driver=raw,{}", drive(&daemon, 0))));

    daemon.cli("snapshot create fast/golden@v1");
    for vm in 1..=2 {
        daemon.cli(&format!("clone fast/golden@v1 fast/vm{vm}"));
        daemon.cli(&format!("lun map fast/vm{vm} --host hypervisor"));
    }
    let said = boot(&daemon, 1, &tools);
    assert!(said.contains("machine: first boot"), "{said}");
    daemon.kill();
    daemon.run();
    let said = boot(&daemon, 1, &tools);
    assert!(said.contains("machine: booted again, its data are as it wrote them"), "{said}");
    let other = boot(&daemon, 2, &tools);
    assert!(other.contains("machine: first boot"), "the clones are not independent: {other}");
}
