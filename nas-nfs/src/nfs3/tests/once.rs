//! Calls that come again: with the same number from the same client, over another connection or after a
//! restart.

use super::*;
use std::task::{Context, Waker};

const AGAIN: &str = "10.0.0.1:901";

fn bytes(outcome: Outcome) -> Vec<u8> {
    let Outcome::Done(results) = outcome else { panic!("{outcome:?}") };
    results.output.into_bytes()
}

/// Changes that would fail, or do more, if they were done twice.
async fn changes(world: &World) -> Vec<(u32, Bytes)> {
    let (file, folder, root) = (world.file("f").await, world.folder("d").await, world.root());
    world.folder("gone").await;
    world.file("removed").await;
    let ctime = world.attributes(&file).await.ctime;
    let set = SetAttr { object: file.clone(), wanted: owned(0o600), guard: Some(ctime) };
    let how = CreateHow::Guarded(owned(0o644));
    let to_folder = Rename { from: place(&root, "new"), to: place(&folder, "moved") };
    let node = MkNod { place: place(&root, "p"), node: Node::Of(crate::tree::Kind::Fifo, owned(0)) };
    let target = Bytes::from_static(b"x");
    [
        (SETATTR, encoded(&set)),
        (CREATE, encoded(&Create { place: place(&root, "new"), how })),
        (MKDIR, encoded(&MkDir { place: place(&root, "e"), wanted: owned(0o700) })),
        (SYMLINK, encoded(&Symlink { place: place(&root, "s"), wanted: owned(0), target })),
        (MKNOD, encoded(&node)),
        (REMOVE, encoded(&place(&root, "removed"))),
        (RMDIR, encoded(&place(&root, "gone"))),
        (RENAME, encoded(&to_folder)),
        (LINK, encoded(&Link { object: file, place: place(&root, "l") })),
    ]
    .map(|(procedure, arguments)| (procedure, arguments.into()))
    .to_vec()
}

/// Protocol rule 18.
#[test]
fn a_change_that_is_repeated_gets_its_first_answer_over_restarts_too() {
    run(async {
        let world = World::new();
        let changes = changes(&world).await;
        let mut first = Vec::new();
        for (xid, (procedure, arguments)) in (5000..).zip(&changes) {
            let answer = bytes(world.call_again(xid, FRIEND, ROOT, *procedure, arguments.clone()).await);
            assert_eq!(answer[..4], [0; 4], "procedure {procedure} succeeds");
            let again = bytes(world.call_again(xid, AGAIN, ROOT, *procedure, arguments.clone()).await);
            assert_eq!(again, answer, "procedure {procedure}");
            first.push(answer);
        }
        let world = world.restarted().await;
        for ((xid, (procedure, arguments)), answer) in (5000..).zip(&changes).zip(&first) {
            let again = bytes(world.call_again(xid, AGAIN, ROOT, *procedure, arguments.clone()).await);
            assert_eq!(again, *answer, "procedure {procedure}");
        }
        // The file that CREATE made has another name by now.
        let tried = changes.into_iter().zip(first).filter(|((procedure, _), _)| *procedure != CREATE);
        for ((procedure, arguments), answer) in tried {
            let other = bytes(world.call_again(9000, FRIEND, ROOT, procedure, arguments).await);
            assert_ne!(other[..4], answer[..4], "procedure {procedure} was done once: a new call fails");
        }
    });
}

/// Protocol rule 2: what is repeated takes effect once, and is answered when it has.
#[test]
fn a_write_that_hangs_is_joined_and_never_takes_effect_late() {
    run(async {
        let world = World::new();
        let file = world.file("f").await;
        let ask = |data| Bytes::from(encoded(&write(&file, 0, data, StableHow::FileSync)));
        let mut context = Context::from_waker(Waker::noop());
        world.trees[0].hang(true);
        let mut first = world.call_again(7, FRIEND, USER, WRITE, ask(b"old"));
        assert!(first.as_mut().poll(&mut context).is_pending());
        let mut again = world.call_again(7, AGAIN, USER, WRITE, ask(b"old"));
        assert!(again.as_mut().poll(&mut context).is_pending());
        let calls = world.trees[0].calls();
        world.trees[0].hang(false);
        let (first, again) = (bytes(first.await), bytes(again.await));
        assert_eq!((&first, world.trees[0].calls()), (&again, calls), "the tree was asked once");
        let newer = bytes(world.call_again(8, AGAIN, USER, WRITE, ask(b"new")).await);
        assert_eq!(newer[..4], [0; 4]);
        // One more copy of the first, from a connection that was left behind.
        assert_eq!(bytes(world.call_again(7, FRIEND, USER, WRITE, ask(b"old")).await), first);
        let read: Result<ReadDone, Failure<PostAttributes>> =
            world.ask(USER, READ, &Read { file, offset: 0, count: 10 }).await;
        assert_eq!(read.map(|done| done.data.0), Ok(Bytes::from_static(b"new")));
    });
}

#[test]
fn what_is_to_be_tried_again_is_not_remembered() {
    run(async {
        let world = World::new();
        let arguments =
            Bytes::from(encoded(&MkDir { place: place(&world.root(), "d"), wanted: owned(0o700) }));
        world.trees[0].set_unavailable(true);
        let answer = bytes(world.call_again(5, FRIEND, ROOT, MKDIR, arguments.clone()).await);
        assert_eq!(answer[..4], (Status::JukeBox as u32).to_be_bytes());
        world.trees[0].set_unavailable(false);
        let answer = bytes(world.call_again(5, FRIEND, ROOT, MKDIR, arguments).await);
        assert_eq!(answer[..4], [0; 4]);
    });
}
