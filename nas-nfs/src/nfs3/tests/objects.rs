//! GETATTR, SETATTR, LOOKUP, ACCESS, READLINK.

use super::*;

fn set(object: &Handle, wanted: SetAttributes, guard: Option<Time>) -> SetAttr {
    SetAttr { object: object.clone(), wanted: Wanted(wanted), guard }
}

#[test]
fn attributes_are_set_by_who_may_and_under_their_guard() {
    run(async {
        let world = World::new();
        let file = world.file("f").await;
        let before = world.attributes(&file).await;
        assert_eq!((before.mode, before.uid, before.links, before.size), (0o644, USER, 1, 0));
        let mode = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
        let refused: Changed_ = world.ask(OTHER, SETATTR, &set(&file, mode, None)).await;
        let failure = refused.expect_err("not the owner");
        assert_eq!((failure.status, failure.body.after), (Status::Perm, Some(before.clone())));
        let wrong = Some(Time { seconds: 1, nanos: 1 });
        let late: Changed_ = world.ask(USER, SETATTR, &set(&file, mode, wrong)).await;
        assert_eq!(status(late), Some(Status::NotSync));
        let done: Changed_ = world.ask(USER, SETATTR, &set(&file, mode, Some(before.ctime))).await;
        let wcc = done.expect("the owner may");
        let (told, after) = (wcc.before.expect("told"), wcc.after.expect("told"));
        assert_eq!((told.ctime, after.mode), (before.ctime, 0o600));
        assert!(after.ctime > before.ctime);
        assert_eq!(world.attributes(&file).await, after);
    });
}

#[test]
fn size_and_times_are_set() {
    run(async {
        let world = World::new();
        let file = world.file("f").await;
        let time = Time { seconds: 77, nanos: 88 };
        let wanted = SetAttributes {
            size: Some(10_000),
            atime: Some(SetTime::To(time)),
            mtime: Some(SetTime::To(time)),
            ..SetAttributes::default()
        };
        let done: Changed_ = world.ask(USER, SETATTR, &set(&file, wanted, None)).await;
        let after = done.expect("the owner may").after.expect("told");
        assert_eq!((after.size, after.atime, after.mtime), (10_000, time, time));
        let size = SetAttributes { size: Some(5), ..SetAttributes::default() };
        let refused: Changed_ = world.ask(OTHER, SETATTR, &set(&file, size, None)).await;
        assert_eq!(status(refused), Some(Status::Acces));
    });
}

#[test]
fn names_are_found_dots_too() {
    run(async {
        let world = World::new();
        let folder = world.folder("d").await;
        let found = |uid, directory: &Handle, name| {
            let ask = place(directory, name);
            let world = &world;
            async move {
                let found: Result<Found, Failure<PostAttributes>> = world.ask(uid, LOOKUP, &ask).await;
                found
            }
        };
        let told = found(OTHER, &world.root(), "d").await.expect("it is there");
        assert_eq!((&told.object, told.attributes), (&folder, Some(world.attributes(&folder).await)));
        assert_eq!(told.directory, Some(world.attributes(&world.root()).await));
        for (directory, name, expected) in [
            (&folder, ".", folder.clone()),
            (&folder, "..", world.root()),
            (&world.root(), "..", world.root()),
        ] {
            assert_eq!(found(USER, directory, name).await.expect("it is there").object, expected);
        }
        let file = world.file("f").await;
        assert_eq!(status(found(USER, &file, "x").await), Some(Status::NotDir));
        assert_eq!(status(found(USER, &folder, "x").await), Some(Status::NoEnt));
        assert_eq!(status(found(USER, &folder, "a/b").await), Some(Status::Inval));
        let failure = found(USER, &folder, "x").await.expect_err("not there");
        assert!(failure.body.is_some(), "the directory's attributes are told in failure too");
        let close = SetAttributes { mode: Some(0o700), ..SetAttributes::default() };
        let _done: Changed_ = world.ask(USER, SETATTR, &set(&folder, close, None)).await;
        assert_eq!(status(found(OTHER, &folder, "x").await), Some(Status::Acces));
        assert_eq!(status(found(OTHER, &folder, "..").await), Some(Status::Acces));
    });
}

#[test]
fn long_names_are_refused_by_their_length() {
    run(async {
        let world = World::new();
        for (len, expected) in [(255, Status::NoEnt), (256, Status::NameTooLong), (4000, Status::NameTooLong)]
        {
            let ask = DirectoryName { directory: world.root(), name: vec![b'x'; len].into() };
            let found: Result<Found, Failure<PostAttributes>> = world.ask(USER, LOOKUP, &ask).await;
            assert_eq!(status(found), Some(expected), "{len} bytes");
        }
    });
}

#[test]
fn links_are_read_and_nothing_else_is() {
    run(async {
        let world = World::new();
        let ask = Symlink { place: place(&world.root(), "l"), wanted: owned(0), target: "to/there".into() };
        let made: Made_ = world.ask(ROOT, SYMLINK, &ask).await;
        let link = made.expect("it is made").object.expect("told");
        assert_eq!(world.attributes(&link).await.size, 8);
        let read: Result<LinkTarget, Failure<PostAttributes>> = world.ask(OTHER, READLINK, &link).await;
        assert_eq!(&read.expect("a link").target[..], b"to/there");
        let read: Result<LinkTarget, Failure<PostAttributes>> =
            world.ask(OTHER, READLINK, &world.root()).await;
        assert_eq!(status(read), Some(Status::Inval));
    });
}

/// Protocol rule 21: root is nobody unless the export says otherwise.
#[test]
fn root_is_squashed_by_default() {
    run(async {
        let world = World::new();
        let ask = MkDir { place: place(&world.root(), "d"), wanted: Wanted::default() };
        let made: Made_ = world.ask_from("10.0.8.1:700", ROOT, MKDIR, &ask).await;
        assert_eq!(status(made), Some(Status::Acces));
        let made: Made_ = world.ask(ROOT, MKDIR, &ask).await;
        assert!(made.is_ok());
    });
}
