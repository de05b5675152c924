//! What every tree of files must do: a battery for any [`FileTree`], run by the tests of each of them.
//!
//! Each check works in a directory of its own below the root, made with the check's name, and panics at the
//! first thing that is wrong. It relies on nothing but the border.

use crate::tree::{
    Attributes, Change, Changed, FileTree, Kind, Name, New, ObjectRef, Record, SetAttributes, SetTime,
    Stability, Time, TreeFault,
};
use bytes::Bytes;

/// Runs all checks.
///
/// # Panics
/// At the first thing that a tree does not do as the border says.
pub async fn run<T: FileTree>(tree: &T) {
    names(tree).await;
    directories(tree).await;
    renames(tree).await;
    links(tree).await;
    creates(tree).await;
    attributes(tree).await;
    times(tree).await;
    content(tree).await;
    listings(tree).await;
    records(tree).await;
}

/// A name that can be one.
///
/// # Panics
/// On one that cannot.
#[must_use]
pub fn name(text: &str) -> Name {
    Name::new(Bytes::copy_from_slice(text.as_bytes())).expect("a name of the tests")
}

async fn make<T: FileTree>(
    tree: &T,
    directory: ObjectRef,
    text: &str,
    new: New,
) -> Result<Changed, TreeFault> {
    tree.change(Change::Make { directory, name: name(text), new }, None).await
}

async fn made<T: FileTree>(tree: &T, directory: ObjectRef, text: &str, new: New) -> ObjectRef {
    let changed = make(tree, directory, text, new).await.expect("nothing speaks against it");
    changed.object.expect("something was made").0
}

async fn folder<T: FileTree>(tree: &T, directory: ObjectRef, text: &str) -> ObjectRef {
    made(tree, directory, text, New::Directory(SetAttributes::default())).await
}

async fn file<T: FileTree>(tree: &T, directory: ObjectRef, text: &str) -> ObjectRef {
    made(tree, directory, text, New::FileOnly(SetAttributes::default())).await
}

async fn remove<T: FileTree>(tree: &T, directory: ObjectRef, text: &str) -> Result<Changed, TreeFault> {
    tree.change(Change::Remove { directory, name: name(text) }, None).await
}

async fn remove_directory<T: FileTree>(
    tree: &T,
    directory: ObjectRef,
    text: &str,
) -> Result<Changed, TreeFault> {
    tree.change(Change::RemoveDirectory { directory, name: name(text) }, None).await
}

async fn rename<T: FileTree>(
    tree: &T,
    from: (ObjectRef, &str),
    to: (ObjectRef, &str),
) -> Result<Changed, TreeFault> {
    let change = Change::Rename { from: from.0, name: name(from.1), to: to.0, new_name: name(to.1) };
    tree.change(change, None).await
}

async fn set<T: FileTree>(tree: &T, object: ObjectRef, to: SetAttributes) -> Result<Changed, TreeFault> {
    tree.change(Change::Set { object, attributes: to, guard: None }, None).await
}

async fn now<T: FileTree>(tree: &T, object: ObjectRef) -> Attributes {
    tree.attributes(object).await.expect("the object exists")
}

async fn find<T: FileTree>(tree: &T, directory: ObjectRef, text: &str) -> Result<ObjectRef, TreeFault> {
    tree.lookup(directory, &name(text)).await.map(|(object, _)| object)
}

async fn names<T: FileTree>(tree: &T) {
    let dir = folder(tree, tree.root(), "names").await;
    let longest = "n".repeat(Name::MAX);
    for text in ["a", "...", " ", "\u{1f5ff}", "a\nb", "A", longest.as_str()] {
        let object = file(tree, dir, text).await;
        let (found, attributes) = tree.lookup(dir, &name(text)).await.expect("it was just made");
        assert_eq!((found, attributes.kind, attributes.links), (object, Kind::Regular, 1), "{text:?}");
        let again = make(tree, dir, text, New::FileOnly(SetAttributes::default())).await;
        assert_eq!(again, Err(TreeFault::Exists), "{text:?}");
    }
    assert_eq!(find(tree, dir, "b").await, Err(TreeFault::NotFound));
    let object = find(tree, dir, "a").await.expect("it was made");
    assert_eq!(find(tree, object, "a").await, Err(TreeFault::NotDirectory));
    let gone = remove(tree, dir, "a").await.expect("it was made");
    let (removed, last) = gone.object.expect("something was removed");
    assert_eq!((removed, last.links), (object, 0));
    assert_eq!(gone.first.after, now(tree, dir).await);
    assert_eq!(tree.attributes(object).await, Err(TreeFault::Stale));
    assert_eq!(remove(tree, dir, "a").await, Err(TreeFault::NotFound));
    let other = file(tree, dir, "a").await;
    assert_ne!(other, object, "an object is never another one later");
    let stranger = ObjectRef { generation: other.generation.wrapping_add(1), ..other };
    assert_eq!(tree.attributes(stranger).await, Err(TreeFault::Stale));
}

async fn directories<T: FileTree>(tree: &T) {
    let root = tree.root();
    assert_eq!(tree.parent(root).await, Ok(root));
    let dir = folder(tree, root, "directories").await;
    assert_eq!((now(tree, dir).await.links, tree.parent(dir).await), (2, Ok(root)));
    let (a, b) = (folder(tree, dir, "a").await, folder(tree, dir, "b").await);
    let object = file(tree, a, "file").await;
    assert_eq!((now(tree, dir).await.links, now(tree, a).await.links), (4, 2));
    assert_eq!(remove(tree, dir, "a").await, Err(TreeFault::IsDirectory));
    assert_eq!(remove_directory(tree, dir, "a").await, Err(TreeFault::NotEmpty));
    assert_eq!(remove_directory(tree, a, "file").await, Err(TreeFault::NotDirectory));
    assert_eq!(remove_directory(tree, object, "x").await, Err(TreeFault::NotDirectory));
    assert_eq!(tree.parent(object).await, Err(TreeFault::NotDirectory));
    remove(tree, a, "file").await.expect("it is there");
    remove_directory(tree, dir, "a").await.expect("it is empty");
    assert_eq!(now(tree, dir).await.links, 3);
    assert_eq!(tree.attributes(a).await, Err(TreeFault::Stale));
    assert_eq!(make(tree, a, "x", New::FileOnly(SetAttributes::default())).await, Err(TreeFault::Stale));
    assert_eq!(tree.parent(b).await, Ok(dir));
}

async fn renames<T: FileTree>(tree: &T) {
    let dir = folder(tree, tree.root(), "renames").await;
    let (a, b) = (folder(tree, dir, "a").await, folder(tree, dir, "b").await);
    let (one, two) = (file(tree, a, "one").await, file(tree, b, "two").await);
    let before = (now(tree, a).await, now(tree, b).await, now(tree, one).await);
    let moved = rename(tree, (a, "one"), (b, "two")).await.expect("a file replaces a file");
    assert_eq!((moved.first.before, moved.second.map(|s| s.before)), (before.0, Some(before.1)));
    assert_eq!(moved.second.map(|s| s.after), Some(now(tree, b).await));
    assert!(now(tree, one).await.ctime > before.2.ctime, "a renamed object has changed");
    assert_eq!(find(tree, b, "two").await, Ok(one));
    assert_eq!(find(tree, a, "one").await, Err(TreeFault::NotFound));
    assert_eq!(tree.attributes(two).await, Err(TreeFault::Stale));

    assert_eq!(rename(tree, (a, "none"), (b, "x")).await, Err(TreeFault::NotFound));
    assert_eq!(rename(tree, (b, "two"), (dir, "a")).await, Err(TreeFault::IsDirectory));
    assert_eq!(rename(tree, (dir, "a"), (b, "two")).await, Err(TreeFault::NotDirectory));
    assert_eq!(rename(tree, (dir, "a"), (dir, "b")).await, Err(TreeFault::NotEmpty));
    assert_eq!(rename(tree, (dir, "a"), (a, "x")).await, Err(TreeFault::Invalid), "into itself");
    let below = folder(tree, a, "below").await;
    assert_eq!(rename(tree, (dir, "a"), (below, "x")).await, Err(TreeFault::Invalid), "below itself");
    rename(tree, (a, "below"), (b, "below")).await.expect("a directory moves");
    assert_eq!(tree.parent(below).await, Ok(b));
    assert_eq!((now(tree, a).await.links, now(tree, b).await.links), (2, 3));
    rename(tree, (b, "below"), (dir, "a")).await.expect("an empty directory is replaced");
    assert_eq!((now(tree, dir).await.links, now(tree, b).await.links), (4, 2));
    assert_eq!(tree.attributes(a).await, Err(TreeFault::Stale));

    let link = Change::Link { object: one, directory: b, name: name("three") };
    tree.change(link, None).await.expect("a name is free");
    let still = now(tree, b).await;
    let same = rename(tree, (b, "two"), (b, "three")).await.expect("two names of one object");
    assert_eq!((same.first.after, now(tree, b).await), (still, still), "nothing happens");
    assert_eq!((find(tree, b, "two").await, find(tree, b, "three").await), (Ok(one), Ok(one)));
}

async fn links<T: FileTree>(tree: &T) {
    let dir = folder(tree, tree.root(), "links").await;
    let object = file(tree, dir, "a").await;
    let link = |object, text: &str| Change::Link { object, directory: dir, name: name(text) };
    let before = now(tree, object).await;
    let linked = tree.change(link(object, "b"), None).await.expect("a name is free");
    let (found, after) = linked.object.expect("something was linked");
    assert_eq!((found, after.links), (object, 2));
    assert!(after.ctime > before.ctime && after.mtime == before.mtime);
    assert_eq!(tree.change(link(object, "a"), None).await, Err(TreeFault::Exists));
    assert_eq!(tree.change(link(dir, "c"), None).await, Err(TreeFault::IsDirectory));
    remove(tree, dir, "a").await.expect("it is there");
    assert_eq!(now(tree, object).await.links, 1);
    remove(tree, dir, "b").await.expect("it is there");
    assert_eq!(tree.change(link(object, "c"), None).await, Err(TreeFault::Stale));
}

async fn creates<T: FileTree>(tree: &T) {
    let dir = folder(tree, tree.root(), "creates").await;
    let sized = |size| SetAttributes { size: Some(size), mode: Some(0o600), ..SetAttributes::default() };
    let once = |verifier| New::FileOnce { verifier, attributes: SetAttributes::default() };
    let object = made(tree, dir, "file", New::File(sized(9))).await;
    let first = now(tree, object).await;
    assert_eq!((first.size, first.mode), (9, 0o600));
    assert_eq!(made(tree, dir, "file", New::File(SetAttributes::default())).await, object);
    assert_eq!(now(tree, object).await, first, "an unchecked create of what exists changes nothing");
    let cut = SetAttributes { mode: Some(0o777), ..sized(0) };
    made(tree, dir, "file", New::File(cut)).await;
    let second = now(tree, object).await;
    assert_eq!((second.size, second.mode), (0, 0o600), "only the size is set");
    assert_eq!(make(tree, dir, "file", once([7; 8])).await, Err(TreeFault::Exists));

    let exclusive = made(tree, dir, "once", once([7; 8])).await;
    let state = now(tree, dir).await;
    assert_eq!(made(tree, dir, "once", once([7; 8])).await, exclusive, "a retransmission finds its file");
    assert_eq!(now(tree, dir).await, state);
    assert_eq!(make(tree, dir, "once", once([8; 8])).await, Err(TreeFault::Exists));

    let target = Bytes::from_static(b"../else/where");
    let plain = SetAttributes::default();
    let link = made(tree, dir, "link", New::Symlink(target.clone(), plain)).await;
    let (read, attributes) = tree.read_link(link).await.expect("it is a link");
    assert_eq!((read, attributes.kind, attributes.size), (target, Kind::Symlink, 13));
    assert_eq!(tree.read_link(object).await, Err(TreeFault::Invalid));
    let long = |len| New::Symlink(Bytes::from(vec![b'x'; len]), SetAttributes::default());
    assert_eq!(make(tree, dir, "long", long(4096)).await, Err(TreeFault::NameTooLong));
    assert_eq!(make(tree, dir, "empty", long(0)).await, Err(TreeFault::Invalid));
    made(tree, dir, "long", long(4095)).await;
    assert_eq!(make(tree, dir, "link", New::File(plain)).await, Err(TreeFault::Exists));
    for kind in [Kind::Block(8, 1), Kind::Character(5, 1), Kind::Fifo, Kind::Socket] {
        let node = made(tree, dir, &format!("{kind:?}"), New::Node(kind, plain)).await;
        assert_eq!(now(tree, node).await.kind, kind);
        assert_eq!(tree.read(node, 0, 1).await, Err(TreeFault::Invalid), "{kind:?}");
    }
    assert_eq!(make(tree, object, "x", New::File(plain)).await, Err(TreeFault::NotDirectory));
}

async fn attributes<T: FileTree>(tree: &T) {
    let dir = folder(tree, tree.root(), "attributes").await;
    let object = file(tree, dir, "file").await;
    let to = SetAttributes { mode: Some(0o6751), uid: Some(7), gid: Some(8), ..SetAttributes::default() };
    let before = now(tree, object).await;
    let changed = set(tree, object, to).await.expect("the object exists");
    let after = now(tree, object).await;
    assert_eq!((changed.first.before, changed.first.after), (before, after));
    assert_eq!((after.mode, after.uid, after.gid, after.mtime), (0o6751, 7, 8, before.mtime));
    assert!(after.ctime > before.ctime && after.change > before.change);

    let guarded = |guard| Change::Set { object, attributes: SetAttributes::default(), guard: Some(guard) };
    assert_eq!(tree.change(guarded(before.ctime), None).await, Err(TreeFault::NotSync));
    tree.change(guarded(after.ctime), None).await.expect("the guard holds");
    let size = |size| SetAttributes { size: Some(size), ..SetAttributes::default() };
    assert_eq!(set(tree, dir, size(1)).await, Err(TreeFault::IsDirectory));
    assert_eq!(set(tree, object, size((16 << 40) + 1)).await, Err(TreeFault::TooLarge));
    set(tree, object, size(16 << 40)).await.expect("16 TiB are the limit");
    assert_eq!(now(tree, object).await.size, 16 << 40);
    assert_eq!(tree.read(object, (16 << 40) - 4, 9).await.map(|r| r.data.len()), Ok(4));
}

async fn times<T: FileTree>(tree: &T) {
    let dir = folder(tree, tree.root(), "times").await;
    let object = file(tree, dir, "file").await;
    let mut last = now(tree, object).await;
    for round in 0..20 {
        let done = match round % 2 {
            0 => set(tree, object, SetAttributes::default()).await.map(drop),
            _ => tree.write(object, 0, Bytes::from_static(b"x"), Stability::File, false).await.map(drop),
        };
        done.expect("nothing speaks against it");
        let next = now(tree, object).await;
        assert!(next.ctime > last.ctime && next.change > last.change, "ctime strictly rises");
        last = next;
    }
    for time in [Time { seconds: -7, nanos: 1 }, Time { seconds: 1 << 33, nanos: 999_999_999 }] {
        let to = SetAttributes {
            atime: Some(SetTime::To(time)),
            mtime: Some(SetTime::To(time)),
            ..SetAttributes::default()
        };
        set(tree, object, to).await.expect("the object exists");
        let set = now(tree, object).await;
        assert_eq!((set.atime, set.mtime), (time, time));
        assert!(set.ctime > last.ctime, "ctime is nobody's to set");
    }
    let before = now(tree, dir).await;
    remove(tree, dir, "file").await.expect("it is there");
    let after = now(tree, dir).await;
    assert!(after.mtime > before.mtime && after.ctime > before.ctime, "a directory's names are its content");
}

async fn content<T: FileTree>(tree: &T) {
    let dir = folder(tree, tree.root(), "content").await;
    let object = file(tree, dir, "file").await;
    let write =
        |at, data: &[u8], ids| tree.write(object, at, Bytes::copy_from_slice(data), Stability::File, ids);
    let before = now(tree, object).await;
    let written = write(10_000, b"stone", false).await.expect("there is room");
    assert_eq!((written.file.before, written.stability), (before, Stability::File));
    assert_eq!(written.file.after, now(tree, object).await);
    assert_eq!(written.file.after.size, 10_005);
    let read = tree.read(object, 9_998, 100).await.expect("it is a file");
    assert_eq!((&read.data[..], read.end), (&b"\0\0stone"[..], true));
    let read = tree.read(object, 0, 4).await.expect("it is a file");
    assert_eq!((&read.data[..], read.end), (&[0; 4][..], false));
    let read = tree.read(object, 1 << 50, 4).await.expect("it is a file");
    assert!(read.data.is_empty() && read.end);

    let size = |size| SetAttributes { size: Some(size), ..SetAttributes::default() };
    set(tree, object, size(10_002)).await.expect("it is a file");
    set(tree, object, size(20_000)).await.expect("it is a file");
    let read = tree.read(object, 10_000, 8).await.expect("it is a file");
    assert_eq!(&read.data[..], b"st\0\0\0\0\0\0", "what was cut off stays away");
    let mode = SetAttributes { mode: Some(0o6777), ..SetAttributes::default() };
    set(tree, object, mode).await.expect("it is a file");
    write(0, b"x", false).await.expect("there is room");
    assert_eq!(now(tree, object).await.mode, 0o6777);
    write(0, b"x", true).await.expect("there is room");
    assert_eq!(now(tree, object).await.mode, 0o777);
    assert_eq!(write((16 << 40) - 1, b"xy", false).await, Err(TreeFault::TooLarge));
    assert_eq!(write(u64::MAX, b"xy", false).await, Err(TreeFault::TooLarge));
    let state = now(tree, object).await;
    write(0, b"", false).await.expect("nothing is written");
    assert_eq!(now(tree, object).await, state);
    tree.commit(object).await.expect("it is a file");
    assert_eq!(tree.read(dir, 0, 1).await, Err(TreeFault::IsDirectory));
    assert_eq!(tree.commit(dir).await, Err(TreeFault::IsDirectory));
}

/// Cookies stay valid while names come and go: every name that stays is listed exactly once.
async fn listings<T: FileTree>(tree: &T) {
    let dir = folder(tree, tree.root(), "listings").await;
    for n in 0..50 {
        file(tree, dir, &format!("stays-{n}")).await;
        file(tree, dir, &format!("goes-{n}")).await;
    }
    let (mut cookie, mut verifier, mut seen, mut round) = (0, 0, Vec::new(), 0);
    loop {
        let part = tree.list(dir, cookie, verifier, 7, round % 2 == 0).await.expect("a directory");
        assert_eq!(part.parent, tree.root());
        for entry in &part.entries {
            assert!(entry.cookie > cookie && entry.cookie >= 3, "cookies rise");
            cookie = entry.cookie;
            seen.push(entry.name.clone());
            let found = tree.lookup(dir, &Name::new(entry.name.clone()).expect("a name")).await;
            let expected = entry.attributes.map(|attributes| (entry.object, attributes));
            assert_eq!(expected, found.ok().filter(|_| round % 2 == 0));
        }
        verifier = part.verifier;
        if part.end {
            break;
        }
        let _may_be_gone = remove(tree, dir, &format!("goes-{round}")).await;
        let _may_be_gone = remove(tree, dir, &format!("goes-{}", 49 - round)).await;
        file(tree, dir, &format!("comes-{round}")).await;
        round += 1;
    }
    for n in 0..50 {
        let stays = format!("stays-{n}");
        assert_eq!(seen.iter().filter(|name| ***name == *stays.as_bytes()).count(), 1, "{stays}");
    }
    let again = tree.list(dir, cookie, verifier, 7, false).await.expect("the last cookie stays valid");
    assert!(again.entries.is_empty() && again.end);
    assert_eq!(tree.list(dir, cookie, verifier ^ 1, 7, false).await, Err(TreeFault::BadCookie));
    let object = find(tree, dir, "stays-0").await.expect("it stays");
    assert_eq!(tree.list(object, 0, 0, 7, false).await, Err(TreeFault::NotDirectory));
}

async fn records<T: FileTree>(tree: &T) {
    let dir = folder(tree, tree.root(), "records").await;
    let encode = |changed: &Changed| changed.first.after.change.to_be_bytes().to_vec();
    let record = |client: u8, slot| Record { client: [client; 16], slot, encode: &encode };
    for (text, client, slot) in [("a", 1, 0), ("b", 1, 0), ("c", 1, 7), ("d", 2, 0)] {
        let new = New::FileOnly(SetAttributes::default());
        let change = Change::Make { directory: dir, name: name(text), new };
        let changed = tree.change(change.clone(), Some(record(client, slot))).await.expect("a free name");
        let expected = encode(&changed);
        let failed = tree.change(change, Some(record(client, slot))).await;
        assert_eq!(failed, Err(TreeFault::Exists));
        let kept = tree.kept().await.expect("what was kept can be read");
        let found: Vec<_> = kept.iter().filter(|k| k.client == [client; 16] && k.slot == slot).collect();
        assert_eq!(found.len(), 1, "one record a client and slot");
        assert_eq!(found[0].bytes, expected, "the newest, and nothing of what failed");
    }
    assert_eq!(tree.kept().await.expect("what was kept can be read").len(), 3);
}
