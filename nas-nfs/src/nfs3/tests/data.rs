//! READ, WRITE, COMMIT.

use super::*;
use std::task::{Context, Poll, Waker};

type ReadDone_ = Result<ReadDone, Failure<PostAttributes>>;
type CommitDone_ = Result<CommitDone, Failure<Wcc>>;

fn read(file: &Handle, offset: u64, count: u32) -> Read {
    Read { file: file.clone(), offset, count }
}

#[test]
fn what_is_written_is_read() {
    run(async {
        let world = World::new();
        let file = world.file("f").await;
        let written = world.write(&file, 3, b"hello", StableHow::Unstable).await;
        assert_eq!((written.count, written.committed), (5, StableHow::Unstable));
        assert_eq!(written.wcc.after, Some(world.attributes(&file).await));
        assert!(written.wcc.before.is_some_and(|before| before.size == 0));
        for (offset, count, data, end) in [
            (0, 100, &b"\0\0\0hello"[..], true),
            (0, 8, b"\0\0\0hello", true),
            (0, 7, b"\0\0\0hell", false),
            (4, 2, b"el", false),
            (8, 1, b"", true),
            (u64::MAX, u32::MAX, b"", true),
        ] {
            let done: ReadDone_ = world.ask(OTHER, READ, &read(&file, offset, count)).await;
            let done = done.expect("everybody may read");
            assert_eq!((&done.data.0[..], done.end), (data, end), "{count} bytes at {offset}");
            assert_eq!((done.count as usize, done.attributes.is_some()), (data.len(), true));
        }
        assert_eq!(world.budget.available(), MEMORY);
    });
}

#[test]
fn a_read_is_never_longer_than_was_told() {
    run(async {
        let world = World::new();
        let file = world.file("f").await;
        world.write(&file, (3 << 20) - 1, b"x", StableHow::Unstable).await;
        let done: ReadDone_ = world.ask(USER, READ, &read(&file, 0, u32::MAX)).await;
        assert_eq!(done.map(|done| (done.count, done.end)), Ok((1 << 20, false)));
    });
}

#[test]
fn who_may_not_read_or_write_does_not() {
    run(async {
        let world = World::new();
        let file = world.file("f").await;
        let close = SetAttr { object: file.clone(), wanted: owned(0), guard: None };
        let _closed: Changed_ = world.ask(ROOT, SETATTR, &close).await;
        let done: ReadDone_ = world.ask(OTHER, READ, &read(&file, 0, 1)).await;
        let failure = done.expect_err("others may not");
        assert!(failure.status == Status::Acces && failure.body.is_some());
        let refused: Result<WriteDone, Failure<Wcc>> =
            world.ask(OTHER, WRITE, &write(&file, 0, b"x", StableHow::FileSync)).await;
        let failure = refused.expect_err("others may not");
        assert!(failure.status == Status::Acces && failure.body.after.is_some());
        world.write(&file, 0, b"the owner always may", StableHow::FileSync).await;
        let done: ReadDone_ = world.ask(USER, READ, &read(&file, 0, 3)).await;
        assert_eq!(done.map(|done| done.data.0), Ok(Bytes::from_static(b"the")));
        for (object, expected) in [(world.root(), Status::IsDir), (world.folder("d").await, Status::IsDir)] {
            let done: ReadDone_ = world.ask(ROOT, READ, &read(&object, 0, 1)).await;
            assert_eq!(status(done), Some(expected));
        }
    });
}

#[test]
fn counts_that_contradict_the_data_are_refused() {
    run(async {
        let world = World::new();
        let file = world.file("f").await;
        for count in [0, 4, 6, u32::MAX] {
            let ask = Write { count, ..write(&file, 0, b"hello", StableHow::Unstable) };
            let done: Result<WriteDone, Failure<Wcc>> = world.ask(USER, WRITE, &ask).await;
            assert_eq!(status(done), Some(Status::Inval), "{count}");
        }
        let nothing = world.write(&file, 0, b"", StableHow::FileSync).await;
        assert_eq!((nothing.count, world.attributes(&file).await.size), (0, 0));
    });
}

#[test]
fn faults_are_told_as_what_they_are() {
    run(async {
        let world = World::new();
        let file = world.file("f").await;
        for (fault, expected) in [
            (TreeFault::Corrupt, Status::Io),
            (TreeFault::Unavailable, Status::JukeBox),
            (TreeFault::NoSpace, Status::NoSpc),
            (TreeFault::Quota, Status::DQuot),
            (TreeFault::TooLarge, Status::FBig),
        ] {
            world.trees[0].fail(fault);
            let done: ReadDone_ = world.ask(USER, READ, &read(&file, 0, 1)).await;
            assert_eq!(status(done), Some(expected));
            world.trees[0].fail(fault);
            let ask = write(&file, 0, b"x", StableHow::Unstable);
            let done: Result<WriteDone, Failure<Wcc>> = world.ask(USER, WRITE, &ask).await;
            assert_eq!(
                done.map_err(|failure| (failure.status, failure.body.after.is_some())),
                Err((expected, true))
            );
        }
    });
}

/// Protocol rule 3: a device that hangs delays what needs it, and nothing else, and is no error.
#[test]
fn a_hanging_device_delays_data_only() {
    run(async {
        let world = World::new();
        let file = world.file("f").await;
        world.trees[0].hang(true);
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = Vec::new();
        for (procedure, arguments) in samples(&file) {
            let mut answer = world.call(FRIEND, USER, procedure, arguments.into());
            let waits = answer.as_mut().poll(&mut context).is_pending();
            match procedure {
                READ | WRITE | COMMIT => assert!(waits, "procedure {procedure}"),
                GETATTR | LOOKUP | ACCESS | READLINK | READDIR | READDIRPLUS | FSSTAT | FSINFO | PATHCONF => {
                    assert!(!waits, "procedure {procedure}");
                }
                _ => {}
            }
            if waits {
                waiting.push(answer);
            }
        }
        assert!(waiting.len() >= 3);
        world.trees[0].hang(false);
        for answer in waiting {
            assert!(matches!(answer.await, Outcome::Done(_)));
        }
    });
}

/// Protocol rule 19, and the instants in which the verifier is looked at: see the module.
#[test]
fn a_verifier_that_changes_meanwhile_is_never_hidden() {
    run(async {
        let world = World::new();
        let file = world.file("f").await;
        let mut context = Context::from_waker(Waker::noop());
        world.trees[0].set_verifier(1);
        world.trees[0].hang(true);
        let ask = encoded(&write(&file, 0, b"x", StableHow::Unstable));
        let mut writing = world.call(FRIEND, USER, WRITE, ask.into());
        assert!(matches!(writing.as_mut().poll(&mut context), Poll::Pending));
        let ask = encoded(&Commit { file: file.clone(), offset: 0, count: 0 });
        let mut committing = world.call(FRIEND, USER, COMMIT, ask.into());
        assert!(matches!(committing.as_mut().poll(&mut context), Poll::Pending));
        world.trees[0].set_verifier(2);
        world.trees[0].hang(false);
        let written: Result<WriteDone, Failure<Wcc>> = decoded(writing.await);
        assert_eq!(written.map(|done| done.verifier), Ok(1), "it may have been lost");
        let committed: CommitDone_ = decoded(committing.await);
        assert_eq!(committed.map(|done| done.verifier), Ok(2), "what was written before may be lost");
    });
}
