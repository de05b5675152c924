//! Promises of creating and deleting pools.

use super::*;

#[test]
fn a_created_pool_survives_a_power_cut_and_opens_the_same() {
    let (disks, members) = pool("fast", 1, &[8, 40, 100]);
    disks.iter().for_each(|d| d.cut_power(0));
    let opened = open(&disks).unwrap();
    assert_eq!(opened.members.state(), members.state());
    assert!(opened.warnings.is_empty());
    let state = members.state();
    assert_eq!((state.generation, state.journal.incarnation), (1, 1));
    assert_eq!(state.journal.ring.device.0, 2, "the ring is where most room for it is");
    assert_eq!(state.journal.ring.len, 6 * MIB);
    // 8-2, 40-3 and 100-7 MiB of data.
    assert_eq!(members.segments().blocks(), (6 + 37 + 93) * 256);
    let segments: Vec<_> = members.segments().segments().map(|s| (s.number, s.device.0, s.blocks)).collect();
    assert_eq!(segments, [(0, 0, 1536), (1, 1, 9472), (2, 2, 16384), (3, 2, 7424)]);
}

#[test]
fn create_refuses_a_device_that_is_not_empty_and_writes_nothing() {
    let (used, _) = pool("old", 1, &[8]);
    let blank = MemDisk::shared("blank", 8 * MIB);
    let disks = vec![blank.clone(), used[0].clone()];
    let error = run(create(&devices(&disks), &options("new"), &mut random(9))).unwrap_err().to_string();
    assert!(error.starts_with("old-a holds a device of Ashlar pool old ("), "{error}");
    assert!(matches!(open(&[blank]), Err(PoolError::NoSuperblock { .. })));
    assert!(open(&used).is_ok());

    let options = CreateOptions { force: true, ..options("new") };
    let members = run(create(&devices(&disks), &options, &mut random(9))).unwrap();
    assert_eq!(members.state().name.as_str(), "new");
}

#[test]
fn create_finds_one_device_under_two_names() {
    struct Alias(Arc<MemDisk>);
    impl Disk for Alias {
        fn name(&self) -> &str {
            "alias"
        }
        fn geometry(&self) -> crate::Geometry {
            self.0.geometry()
        }
        fn mode(&self) -> &'static str {
            self.0.mode()
        }
        fn read(&self, at: u64, buf: crate::Buf) -> crate::Io<crate::Buf> {
            self.0.read(at, buf)
        }
        fn write(&self, at: u64, data: Vec<bytes::Bytes>) -> crate::Io<()> {
            self.0.write(at, data)
        }
        fn flush(&self) -> crate::Io<()> {
            self.0.flush()
        }
    }
    let disk = MemDisk::shared("disk", 8 * MIB);
    let twice: Vec<Arc<dyn Disk>> = vec![disk.clone(), disk.clone()];
    let aliased: Vec<Arc<dyn Disk>> = vec![disk.clone(), Arc::new(Alias(disk))];
    for disks in [twice, aliased] {
        let result = run(create(&disks, &options("p"), &mut random(1)));
        assert!(matches!(result, Err(PoolError::GivenTwice { .. })), "{result:?}");
    }
}

#[test]
fn create_names_what_is_wrong_with_the_request() {
    let create = |disks: &[Arc<MemDisk>]| run(create(&devices(disks), &options("p"), &mut random(1)));
    assert!(matches!(create(&[]), Err(PoolError::NoDevice)));
    assert!(matches!(create(&[MemDisk::shared("s", 2 * MIB)]), Err(PoolError::TooSmall { .. })));
    let many: Disks = (0..65).map(|n| MemDisk::shared(&n.to_string(), 4 * MIB)).collect();
    assert!(matches!(create(&many), Err(PoolError::TooManyMembers)));
    let members = create(&many[..64]).unwrap();
    assert_eq!(members.segments().segments().count(), 64);
    let huge: Disks = (0..3).map(|n| MemDisk::shared(&n.to_string(), 1 << 57)).collect();
    assert!(matches!(create(&huge), Err(PoolError::TooManyRanges)));
}

#[test]
fn a_deleted_pool_leaves_devices_for_another() {
    let (disks, members) = pool("p", 1, &[8, 8]);
    run(members.delete()).unwrap();
    disks.iter().for_each(|d| d.cut_power(0));
    assert_eq!(refused(&disks), "p-a holds no Ashlar superblock: check the path, or leave the device out");
    run(create(&devices(&disks), &options("q"), &mut random(2))).unwrap();
}

#[test]
fn work_on_pools_may_move_between_threads() {
    fn sends<T: Send>(_: T) {}
    let (disks, mut members) = pool("p", 1, &[8]);
    let devices = devices(&disks);
    let journal = mark(&members, 1);
    let new = MemDisk::shared("new", 8 * MIB);
    sends(create(&devices, &options("p"), &mut random(1)));
    sends(assemble(&devices, None));
    sends(members.plan_add(new, Layout::default(), &mut random(1)).unwrap().format(false));
    sends(members.begin_write(journal).unwrap().run());
    sends(members.delete());
}
