//! What the tree in memory does beyond what every tree does.

use super::*;
use crate::suite::{self, name};
use crate::tree::{New, SetAttributes};
use std::sync::atomic::AtomicI64;
use std::sync::Arc;
use std::time::Duration;

fn tree() -> MemTree {
    MemTree::new(7, || Time { seconds: 1, nanos: 0 })
}

async fn file(tree: &MemTree) -> ObjectRef {
    let new = New::FileOnly(SetAttributes::default());
    let make = Change::Make { directory: tree.root(), name: name("file"), new };
    tree.change(make, None).await.expect("a free name").object.expect("it was made").0
}

#[tokio::test]
async fn it_does_what_every_tree_does() {
    suite::run(&tree()).await;
}

#[tokio::test]
async fn a_clock_that_steps_back_does_not_turn_ctime_back() {
    let clock = Arc::new(AtomicI64::new(100));
    let seconds = Arc::clone(&clock);
    let tree = MemTree::new(7, move || Time { seconds: seconds.load(Ordering::SeqCst), nanos: 999_999_999 });
    let object = file(&tree).await;
    let first = tree.attributes(object).await.unwrap();
    clock.store(50, Ordering::SeqCst);
    let data = Bytes::from_static(b"x");
    let written = tree.write(object, 0, data, Stability::Unstable, false).await.unwrap();
    assert!(written.file.after.ctime > first.ctime);
    clock.store(200, Ordering::SeqCst);
    let set = Change::Set { object, attributes: SetAttributes::default(), guard: None };
    assert_eq!(tree.change(set, None).await.unwrap().first.after.ctime.seconds, 200);
}

#[tokio::test]
async fn full_is_an_honest_state() {
    let tree = tree();
    let object = file(&tree).await;
    tree.limit(2);
    let write = |at| tree.write(object, at, Bytes::from_static(b"x"), Stability::File, false);
    write(0).await.unwrap();
    write(1 << 40).await.unwrap();
    assert_eq!(write(4096).await, Err(TreeFault::NoSpace));
    write(1).await.expect("a block that is there takes more");
    assert_eq!(tree.room().await.unwrap(), Room { total: 8192, free: 0, inodes: 2 });
    let cut = SetAttributes { size: Some(1), ..SetAttributes::default() };
    let set = Change::Set { object, attributes: cut, guard: None };
    tree.change(set, None).await.unwrap();
    write(4096).await.expect("what was cut off is free");
    let remove = Change::Remove { directory: tree.root(), name: name("file") };
    tree.change(remove, None).await.unwrap();
    assert_eq!(tree.room().await.unwrap(), Room { total: 8192, free: 8192, inodes: 1 });
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_hangs_still_knows_its_attributes() {
    let tree = tree();
    let object = file(&tree).await;
    tree.hang(true);
    let (read, commit) = (tree.read(object, 0, 1), tree.commit(object));
    let (mut read, mut commit) = (pin!(read), pin!(commit));
    let time = Duration::from_secs(5);
    assert!(tokio::time::timeout(time, &mut read).await.is_err());
    assert!(tokio::time::timeout(time, &mut commit).await.is_err());
    tree.attributes(object).await.expect("a cached object answers");
    tree.hang(false);
    read.await.unwrap();
    commit.await.unwrap();
}

#[tokio::test]
async fn faults_come_in_their_order_and_a_tree_can_be_away() {
    let tree = tree();
    let object = file(&tree).await;
    tree.fail(TreeFault::Corrupt);
    tree.fail(TreeFault::Quota);
    assert_eq!(tree.read(object, 0, 1).await, Err(TreeFault::Corrupt));
    assert_eq!(tree.commit(object).await, Err(TreeFault::Quota));
    tree.set_unavailable(true);
    assert_eq!(tree.attributes(object).await, Err(TreeFault::Unavailable));
    assert_eq!(tree.commit(object).await, Err(TreeFault::Unavailable));
    tree.set_unavailable(false);
    tree.commit(object).await.unwrap();
}

#[tokio::test]
async fn the_verifiers_are_the_tests_to_change() {
    let tree = tree();
    file(&tree).await;
    let before = tree.verifier();
    tree.set_verifier(before + 1);
    assert_ne!(tree.verifier(), before);
    let listing = tree.list(tree.root(), 0, 0, 9, false).await.unwrap();
    let cookie = listing.entries[0].cookie;
    tree.list(tree.root(), cookie, listing.verifier, 9, false).await.unwrap();
    tree.turn_cookies();
    let again = tree.list(tree.root(), cookie, listing.verifier, 9, false).await;
    assert_eq!(again, Err(TreeFault::BadCookie));
}
