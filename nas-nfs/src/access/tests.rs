//! POSIX permission semantics as tables, in the manner of pjdfstest; Linux's answer where POSIX leaves it
//! open.

use super::*;
use crate::tree::Time;

const ROOT: u32 = 0;
const OWNER: u32 = 100;
const MEMBER: u32 = 101;
const OTHER: u32 = 102;
const GROUP: u32 = 200;

fn who(uid: u32) -> Credentials {
    let groups = if uid == MEMBER { vec![900, GROUP] } else { vec![900] };
    Credentials { uid, gid: uid + 1000, groups }
}

fn object(kind: Kind, mode: u32) -> Attributes {
    Attributes {
        kind,
        mode,
        links: 1,
        uid: OWNER,
        gid: GROUP,
        size: 0,
        used: 0,
        fsid: 1,
        atime: Time::default(),
        mtime: Time::default(),
        ctime: Time::default(),
        change: 0,
    }
}

fn file(mode: u32) -> Attributes {
    object(Kind::Regular, mode)
}

fn folder(mode: u32) -> Attributes {
    object(Kind::Directory, mode)
}

fn of(uid: u32, attributes: Attributes) -> Attributes {
    Attributes { uid, ..attributes }
}

const DENIED: Result<(), Refusal> = Err(Refusal::Access);
const NOT_OWNER: Result<(), Refusal> = Err(Refusal::Owner);

/// Every mode of three digits, every class: exactly the bits of the first class that fits count.
#[test]
fn only_the_first_class_that_fits_counts() {
    for mode in 0..0o1000 {
        for (uid, shift) in [(OWNER, 6), (MEMBER, 3), (OTHER, 0)] {
            let class = mode >> shift;
            let (r, w, x) = (class & 4 != 0, class & 2 != 0, class & 1 != 0);
            let (dir, it) = (folder(mode), who(uid));
            assert_eq!(list(&it, &dir).is_ok(), r, "{mode:o} {uid}");
            assert_eq!(search(&it, &dir).is_ok(), x, "{mode:o} {uid}");
            assert_eq!(add(&it, &dir).is_ok(), w && x, "{mode:o} {uid}");
            let owner = uid == OWNER;
            assert_eq!(read(&it, &file(mode)).is_ok(), r || x || owner, "{mode:o} {uid}");
            assert_eq!(write(&it, &file(mode)).is_ok(), w || owner, "{mode:o} {uid}");
        }
    }
}

#[test]
fn user_0_may_all_but_execute_what_nobody_may() {
    let root = who(ROOT);
    assert_eq!((read(&root, &file(0)), write(&root, &file(0))), (Ok(()), Ok(())));
    assert_eq!(
        (add(&root, &folder(0)), list(&root, &folder(0)), search(&root, &folder(0))),
        (Ok(()), Ok(()), Ok(()))
    );
    let all = bits::READ | bits::MODIFY | bits::EXTEND;
    assert_eq!(granted(&root, &file(0o644), 0x3f, false), all);
    assert_eq!(granted(&root, &file(0o001), 0x3f, false), all | bits::EXECUTE);
}

#[test]
fn sixteen_groups_count_and_the_first_group_too() {
    let mut it = Credentials { uid: OTHER, gid: 1, groups: (1..=MAX_GROUPS as u32).collect() };
    let file = Attributes { gid: 16, ..file(0o060) };
    assert_eq!((read(&it, &file), write(&it, &file)), (Ok(()), Ok(())));
    it.groups.pop();
    assert_eq!(write(&it, &file), DENIED);
    it.gid = 16;
    assert_eq!(write(&it, &file), Ok(()));
}

#[test]
fn access_bits_follow_the_mode_and_not_the_owners_privilege() {
    use bits::{DELETE, EXECUTE, EXTEND, LOOKUP, MODIFY, READ};
    let change = MODIFY | EXTEND;
    for (of, expected, read_only) in [
        (file(0o000), 0, 0),
        (file(0o400), READ, READ),
        (file(0o200), change, 0),
        (file(0o100), EXECUTE, EXECUTE),
        (file(0o700), READ | change | EXECUTE, READ | EXECUTE),
        (folder(0o000), 0, 0),
        (folder(0o400), READ, READ),
        (folder(0o200), 0, 0),
        (folder(0o100), LOOKUP, LOOKUP),
        (folder(0o700), READ | LOOKUP | change | DELETE, READ | LOOKUP),
        (object(Kind::Fifo, 0o600), READ | change, READ | change),
        (object(Kind::Symlink, 0o777), READ | change | EXECUTE, READ | EXECUTE),
    ] {
        let asked = 0x3f;
        assert_eq!(granted(&who(OWNER), &of, asked, false), expected, "{:?} {:o}", of.kind, of.mode);
        assert_eq!(granted(&who(OWNER), &of, asked, true), read_only, "{:?} {:o}", of.kind, of.mode);
        assert_eq!(granted(&who(OTHER), &of, asked, false) & !granted(&who(ROOT), &of, asked, false), 0);
    }
    assert_eq!(granted(&who(OWNER), &file(0o700), READ, false), READ, "nothing that was not asked for");
}

/// pjdfstest unlink/11, rmdir/11, rename/09: sticky directories.
#[test]
fn in_a_sticky_directory_only_owners_take_names() {
    let sticky = folder(0o1777);
    for (uid, owner_of_dir, owner_of_file, expected) in [
        (OTHER, OWNER, OWNER, NOT_OWNER),
        (OTHER, OTHER, OWNER, Ok(())),
        (OTHER, OWNER, OTHER, Ok(())),
        (MEMBER, OWNER, OWNER, NOT_OWNER),
        (ROOT, OWNER, OWNER, Ok(())),
    ] {
        let (dir, it) = (of(owner_of_dir, sticky), of(owner_of_file, file(0o666)));
        assert_eq!(take(&who(uid), &dir, &it), expected, "{uid} {owner_of_dir} {owner_of_file}");
        assert_eq!(take(&who(uid), &of(owner_of_dir, folder(0o777)), &it), Ok(()), "not sticky");
        let (open, free) = (folder(0o777), file(0o666));
        let moved = rename(&who(uid), &dir, &it, &open, None, false);
        assert_eq!(moved, expected, "out of a sticky directory");
        let replaced = rename(&who(uid), &open, &free, &dir, Some(&it), false);
        assert_eq!(replaced, expected, "over what is in a sticky directory");
    }
    assert_eq!(add(&who(OTHER), &sticky), Ok(()), "everybody may add");
    assert_eq!(take(&who(OTHER), &folder(0o1775), &of(OTHER, file(0))), DENIED);
}

/// pjdfstest rename/21: a directory that gets another `..` must be writable.
#[test]
fn a_directory_moves_only_if_it_may_be_written() {
    let (from, to) = (folder(0o777), folder(0o777));
    let fixed = of(ROOT, folder(0o755));
    assert_eq!(rename(&who(OTHER), &from, &fixed, &to, None, false), DENIED);
    assert_eq!(rename(&who(OTHER), &from, &fixed, &to, None, true), Ok(()));
    assert_eq!(rename(&who(OTHER), &from, &file(0), &to, None, false), Ok(()));
    assert_eq!(rename(&who(OTHER), &folder(0o755), &file(0), &to, None, false), DENIED);
    assert_eq!(rename(&who(OTHER), &from, &file(0), &folder(0o755), None, false), DENIED);
}

fn mode(mode: u32) -> SetAttributes {
    SetAttributes { mode: Some(mode), ..SetAttributes::default() }
}

fn owner(uid: Option<u32>, gid: Option<u32>) -> SetAttributes {
    SetAttributes { uid, gid, ..SetAttributes::default() }
}

fn refused(result: Result<SetAttributes, Refusal>) -> Result<(), Refusal> {
    result.map(drop)
}

/// pjdfstest chmod/07, chmod/11 and chmod/12.
#[test]
fn chmod_is_the_owners_and_drops_a_strangers_set_gid() {
    for (uid, expected) in [(ROOT, Ok(())), (OWNER, Ok(())), (MEMBER, NOT_OWNER), (OTHER, NOT_OWNER)] {
        for it in [file(0o777), folder(0o777)] {
            assert_eq!(refused(set(&who(uid), &it, &mode(0o600))), expected);
        }
    }
    let member = of(MEMBER, file(0o644));
    assert_eq!(set(&who(MEMBER), &member, &mode(0o2755)), Ok(mode(0o2755)), "of the group");
    assert_eq!(set(&who(OWNER), &file(0o644), &mode(0o2755)), Ok(mode(0o755)), "not of the group");
    assert_eq!(set(&who(ROOT), &file(0o644), &mode(0o6755)), Ok(mode(0o6755)));
    assert_eq!(set(&who(OWNER), &file(0o644), &mode(0o7_4755)), Ok(mode(0o4755)), "only twelve bits");
}

/// pjdfstest chown/00 and chown/07.
#[test]
fn chown_is_user_0s_and_owners_give_files_to_their_own_groups() {
    let it = file(0o644);
    for (uid, change, expected) in [
        (ROOT, owner(Some(OTHER), Some(9)), Ok(())),
        (OWNER, owner(Some(OTHER), None), NOT_OWNER),
        (OWNER, owner(Some(OWNER), None), Ok(())),
        (OWNER, owner(None, Some(900)), Ok(())),
        (OWNER, owner(None, Some(OWNER + 1000)), Ok(())),
        (OWNER, owner(None, Some(GROUP)), Ok(())),
        (OWNER, owner(None, Some(9)), NOT_OWNER),
        (MEMBER, owner(None, Some(GROUP)), NOT_OWNER),
        (OTHER, owner(None, Some(900)), NOT_OWNER),
        (OTHER, owner(Some(OTHER), None), NOT_OWNER),
    ] {
        assert_eq!(refused(set(&who(uid), &it, &change)), expected, "{uid} {change:?}");
    }
}

#[test]
fn set_ids_are_dropped_by_chown_write_and_cut() {
    for (before, after) in
        [(0o6755, 0o755), (0o4644, 0o644), (0o2755, 0o755), (0o2644, 0o2644), (0o755, 0o755)]
    {
        let (it, changed) = (file(before), (before != after).then_some(after));
        for uid in [ROOT, OWNER] {
            let given = set(&who(uid), &it, &owner(None, Some(900))).unwrap();
            assert_eq!(given.mode, changed, "chown of {before:o} by {uid}");
        }
        assert_eq!(clears_ids(&who(OWNER), &it), changed.is_some(), "write of {before:o}");
        assert!(!clears_ids(&who(ROOT), &it), "user 0 writes {before:o}");
        let cut = SetAttributes { size: Some(0), ..SetAttributes::default() };
        assert_eq!(set(&who(OWNER), &it, &cut).unwrap().mode, changed, "cut of {before:o}");
        assert_eq!(set(&who(ROOT), &it, &cut), Ok(cut));
    }
    let kept = set(&who(ROOT), &folder(0o2755), &owner(Some(1), Some(2))).unwrap();
    assert_eq!(kept.mode, None, "a directory's set-group-id stays");
}

/// pjdfstest utimensat/06 to 08.
#[test]
fn given_times_are_the_owners_and_the_current_time_every_writers() {
    let to = SetTime::To(Time { seconds: 1, nanos: 2 });
    let times = |atime, mtime| SetAttributes { atime, mtime, ..SetAttributes::default() };
    let now = Some(SetTime::Now);
    for (uid, bits, change, expected) in [
        (OWNER, 0o000, times(Some(to), Some(to)), Ok(())),
        (OWNER, 0o000, times(now, now), Ok(())),
        (ROOT, 0o000, times(Some(to), now), Ok(())),
        (OTHER, 0o666, times(now, now), Ok(())),
        (OTHER, 0o664, times(now, now), DENIED),
        (MEMBER, 0o664, times(now, None), Ok(())),
        (OTHER, 0o666, times(Some(to), None), NOT_OWNER),
        (OTHER, 0o666, times(now, Some(to)), NOT_OWNER),
    ] {
        assert_eq!(refused(set(&who(uid), &file(bits), &change)), expected, "{uid} {bits:o} {change:?}");
    }
}

/// pjdfstest truncate/05 and ftruncate: the owner of a file that is open goes on.
#[test]
fn size_is_every_writers_and_the_owners() {
    let cut = SetAttributes { size: Some(0), ..SetAttributes::default() };
    assert_eq!(refused(set(&who(OWNER), &file(0o444), &cut)), Ok(()));
    assert_eq!(refused(set(&who(OTHER), &file(0o444), &cut)), DENIED);
    assert_eq!(refused(set(&who(MEMBER), &file(0o464), &cut)), Ok(()));
    let both = SetAttributes { mode: Some(0o777), ..cut };
    assert_eq!(refused(set(&who(MEMBER), &file(0o464), &both)), NOT_OWNER);
}

/// pjdfstest open/00, mkdir/00, mknod/11.
#[test]
fn who_makes_an_object_owns_it() {
    let (plain, setgid) = (folder(0o777), folder(0o2777));
    let it = who(OTHER);
    let made = make(&it, &plain, Kind::Regular, &mode(0o644)).unwrap();
    assert_eq!((made.uid, made.gid, made.mode), (Some(OTHER), Some(OTHER + 1000), Some(0o644)));
    let made = make(&it, &setgid, Kind::Regular, &mode(0o2755)).unwrap();
    assert_eq!((made.gid, made.mode), (Some(GROUP), Some(0o755)), "no set-gid for a group that is not ours");
    let made = make(&who(MEMBER), &setgid, Kind::Regular, &mode(0o2755)).unwrap();
    assert_eq!((made.gid, made.mode), (Some(GROUP), Some(0o2755)));
    let made = make(&it, &setgid, Kind::Directory, &mode(0o755)).unwrap();
    assert_eq!((made.gid, made.mode), (Some(GROUP), Some(0o2755)), "a directory inherits the bit");
    let made = make(&it, &setgid, Kind::Directory, &SetAttributes::default()).unwrap();
    assert_eq!(made.mode, Some(0o2755));
    assert_eq!(refused(make(&it, &folder(0o775), Kind::Regular, &mode(0o644))), DENIED);
    for (uid, kind, expected) in [
        (OTHER, Kind::Fifo, Ok(())),
        (OTHER, Kind::Socket, Ok(())),
        (OTHER, Kind::Block(1, 2), NOT_OWNER),
        (OTHER, Kind::Character(1, 3), NOT_OWNER),
        (ROOT, Kind::Character(1, 3), Ok(())),
    ] {
        assert_eq!(refused(make(&who(uid), &plain, kind, &mode(0o600))), expected, "{uid} {kind:?}");
    }
    for (change, expected) in [
        (owner(Some(OTHER), None), Ok(())),
        (owner(Some(ROOT), None), NOT_OWNER),
        (owner(None, Some(900)), Ok(())),
        (owner(None, Some(9)), NOT_OWNER),
    ] {
        assert_eq!(refused(make(&it, &plain, Kind::Regular, &change)), expected, "{change:?}");
    }
    let given = make(&who(ROOT), &plain, Kind::Regular, &owner(Some(5), Some(6))).unwrap();
    assert_eq!((given.uid, given.gid), (Some(5), Some(6)));
}
