//! CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK.

use super::*;
use crate::tree::Kind;

type Renamed_ = Result<Renamed, Failure<Renamed>>;
type Linked_ = Result<Linked, Failure<Linked>>;

async fn remove(world: &World, uid: u32, procedure: u32, directory: &Handle, name: &'static str) -> Changed_ {
    world.ask(uid, procedure, &place(directory, name)).await
}

async fn rename(
    world: &World,
    uid: u32,
    from: (&Handle, &'static str),
    to: (&Handle, &'static str),
) -> Renamed_ {
    world.ask(uid, RENAME, &Rename { from: place(from.0, from.1), to: place(to.0, to.1) }).await
}

#[test]
fn files_are_made_in_three_ways() {
    run(async {
        let world = World::new();
        let folder = world.folder("d").await;
        let size = |size| Wanted(SetAttributes { mode: Some(0o640), size, ..SetAttributes::default() });
        let before = world.attributes(&folder).await;
        let made =
            world.create(USER, &folder, "f", CreateHow::Guarded(size(None))).await.expect("it is made");
        let told = made.attributes.expect("told");
        assert_eq!((told.mode, told.uid, told.gid), (0o640, USER, USER));
        assert_eq!(made.directory.before.map(|before| before.ctime), Some(before.ctime));
        assert_eq!(made.directory.after, Some(world.attributes(&folder).await));
        let file = made.object.expect("told");
        world.write(&file, 0, b"content", StableHow::FileSync).await;
        let again = world.create(USER, &folder, "f", CreateHow::Guarded(size(None))).await;
        assert_eq!(status(again), Some(Status::Exist));
        // What is there is taken, by who has no right to the directory too; it is cut by who may write it.
        let taken = world.create(OTHER, &folder, "f", CreateHow::Unchecked(size(None))).await;
        assert_eq!(taken.expect("it is there").object, Some(file.clone()));
        let cut = world.create(OTHER, &folder, "f", CreateHow::Unchecked(size(Some(0)))).await;
        assert_eq!(status(cut), Some(Status::Acces));
        assert_eq!(world.attributes(&file).await.size, 7);
        let cut = world.create(USER, &folder, "f", CreateHow::Unchecked(size(Some(0)))).await;
        assert_eq!(cut.expect("it is there").attributes.map(|told| (told.size, told.mode)), Some((0, 0o640)));
        let refused = world.create(OTHER, &folder, "g", CreateHow::Unchecked(size(None))).await;
        assert_eq!(status(refused), Some(Status::Acces));
        let over = world.create(ROOT, &world.root(), "d", CreateHow::Unchecked(size(Some(0)))).await;
        assert_eq!(status(over), Some(Status::Exist));
    });
}

#[test]
fn an_exclusive_create_is_the_same_when_it_is_repeated() {
    run(async {
        let world = World::new();
        let folder = world.folder("d").await;
        let create = |verifier: &[u8; 8]| world.create(USER, &folder, "f", CreateHow::Exclusive(*verifier));
        let made = create(b"verifier").await.expect("it is made");
        assert_eq!(create(b"verifier").await.expect("the same").object, made.object);
        assert_eq!(status(create(b"another!").await), Some(Status::Exist));
        assert_eq!(made.attributes.map(|told| told.uid), Some(USER));
    });
}

#[test]
fn every_kind_is_made_by_who_may() {
    run(async {
        let world = World::new();
        let folder = world.folder("d").await;
        for (name, kind, told) in [
            ("fifo", Kind::Fifo, FileType::Fifo),
            ("socket", Kind::Socket, FileType::Socket),
            ("block", Kind::Block(8, 17), FileType::Block),
            ("character", Kind::Character(5, 1), FileType::Character),
        ] {
            let ask = MkNod { place: place(&folder, name), node: Node::Of(kind, owned(0o600)) };
            let made: Made_ = world.ask(USER, MKNOD, &ask).await;
            let device = matches!(kind, Kind::Block(..) | Kind::Character(..));
            assert_eq!(status(made), device.then_some(Status::Perm), "{name}");
            if device {
                let made: Made_ = world.ask(ROOT, MKNOD, &ask).await;
                let attributes = made.expect("root may").attributes.expect("told");
                let numbers = match kind {
                    Kind::Block(major, minor) | Kind::Character(major, minor) => (major, minor),
                    _ => (0, 0),
                };
                assert_eq!((attributes.kind, (attributes.major, attributes.minor)), (told, numbers));
            }
        }
        let ask = MkNod { place: place(&folder, "x"), node: Node::Other(FileType::Regular) };
        let made: Made_ = world.ask(USER, MKNOD, &ask).await;
        assert_eq!(status(made), Some(Status::BadType));
    });
}

#[test]
fn dots_and_bad_names_are_refused() {
    run(async {
        let world = World::new();
        let folder = world.folder("d").await;
        for (name, expected) in
            [(".", Status::Exist), ("..", Status::Exist), ("", Status::Inval), ("a/b", Status::Inval)]
        {
            let made = world.create(USER, &folder, name, CreateHow::Guarded(Wanted::default())).await;
            assert_eq!(status(made), Some(expected), "CREATE {name}");
            let ask = MkDir { place: place(&folder, name), wanted: Wanted::default() };
            let made: Made_ = world.ask(USER, MKDIR, &ask).await;
            assert_eq!(status(made), Some(expected), "MKDIR {name}");
            let gone = remove(&world, USER, REMOVE, &folder, name).await;
            assert_eq!(status(gone), Some(Status::Inval), "REMOVE {name}");
        }
        assert_eq!(status(remove(&world, USER, RMDIR, &folder, ".").await), Some(Status::Inval));
        assert_eq!(status(remove(&world, USER, RMDIR, &folder, "..").await), Some(Status::Exist));
    });
}

#[test]
fn names_go_by_the_procedure_for_their_kind() {
    run(async {
        let world = World::new();
        let (folder, root) = (world.folder("d").await, world.root());
        world.create(USER, &folder, "f", CreateHow::Guarded(owned(0o600))).await.expect("it is made");
        assert_eq!(status(remove(&world, ROOT, REMOVE, &root, "d").await), Some(Status::IsDir));
        assert_eq!(status(remove(&world, ROOT, RMDIR, &root, "d").await), Some(Status::NotEmpty));
        assert_eq!(status(remove(&world, ROOT, RMDIR, &folder, "f").await), Some(Status::NotDir));
        assert_eq!(status(remove(&world, OTHER, REMOVE, &folder, "f").await), Some(Status::Acces));
        let failure = remove(&world, USER, REMOVE, &folder, "none").await.expect_err("not there");
        assert!(failure.status == Status::NoEnt && failure.body.after.is_some());
        let wcc = remove(&world, USER, REMOVE, &folder, "f").await.expect("the owner may");
        assert!(wcc.before.is_some());
        assert_eq!(wcc.after, Some(world.attributes(&folder).await));
        assert!(remove(&world, ROOT, RMDIR, &root, "d").await.is_ok());
        let known: Result<Known, Failure<()>> = world.ask(USER, GETATTR, &folder).await;
        assert_eq!(status(known), Some(Status::Stale));
    });
}

#[test]
fn a_sticky_directory_protects_what_others_own() {
    run(async {
        let world = World::new();
        let ask = MkDir {
            place: place(&world.root(), "tmp"),
            wanted: Wanted(SetAttributes { mode: Some(0o1777), ..SetAttributes::default() }),
        };
        let made: Made_ = world.ask(ROOT, MKDIR, &ask).await;
        let folder = made.expect("it is made").object.expect("told");
        world.create(USER, &folder, "f", CreateHow::Guarded(Wanted::default())).await.expect("anybody may");
        world.create(OTHER, &folder, "g", CreateHow::Guarded(Wanted::default())).await.expect("anybody may");
        assert_eq!(status(remove(&world, OTHER, REMOVE, &folder, "f").await), Some(Status::Perm));
        let moved = rename(&world, OTHER, (&folder, "g"), (&folder, "f")).await;
        assert_eq!(status(moved), Some(Status::Perm));
        assert!(rename(&world, OTHER, (&folder, "g"), (&folder, "h")).await.is_ok());
        assert!(remove(&world, USER, REMOVE, &folder, "f").await.is_ok());
    });
}

#[test]
fn a_rename_tells_of_both_directories() {
    run(async {
        let world = World::new();
        let (one, two) = (world.folder("one").await, world.folder("two").await);
        let file = world.file("f").await;
        for (from, to) in [((&world.root(), "f"), (&one, "g")), ((&one, "g"), (&two, "h"))] {
            let done = rename(&world, ROOT, from, to).await.expect("root may");
            assert_eq!(done.from.after, Some(world.attributes(from.0).await));
            assert_eq!(done.to.after, Some(world.attributes(to.0).await));
            assert!(done.from.before.is_some() && done.to.before.is_some());
        }
        let within = rename(&world, USER, (&two, "h"), (&two, "i")).await.expect("the owner may");
        assert_eq!(within.from, within.to);
        let failure = rename(&world, USER, (&two, "h"), (&one, "x")).await.expect_err("not there");
        assert!(failure.body.from.after.is_some() && failure.body.to.after.is_some());
        let found: Result<Found, Failure<PostAttributes>> = world.ask(USER, LOOKUP, &place(&two, "i")).await;
        assert_eq!(found.map(|found| found.object), Ok(file));
    });
}

#[test]
fn nothing_crosses_from_one_share_to_another() {
    run(async {
        let world = World::new();
        let (file, other) = (world.file("f").await, world.root_of(1));
        let moved = rename(&world, ROOT, (&world.root(), "f"), (&other, "f")).await;
        assert_eq!(status(moved), Some(Status::XDev));
        let linked: Linked_ = world.ask(ROOT, LINK, &Link { object: file, place: place(&other, "f") }).await;
        assert_eq!(status(linked), Some(Status::XDev));
    });
}

#[test]
fn links_are_counted() {
    run(async {
        let world = World::new();
        let (folder, file) = (world.folder("d").await, world.file("f").await);
        let link = |uid, object: &Handle| {
            let ask = Link { object: object.clone(), place: place(&folder, "l") };
            let world = &world;
            async move {
                let linked: Linked_ = world.ask(uid, LINK, &ask).await;
                linked
            }
        };
        assert_eq!(status(link(OTHER, &file).await), Some(Status::Acces));
        let linked = link(USER, &file).await.expect("the owner may");
        assert_eq!(linked.attributes.map(|told| told.links), Some(2));
        assert_eq!(linked.directory.after, Some(world.attributes(&folder).await));
        let failure = link(USER, &file).await.expect_err("the name is taken");
        assert!(failure.status == Status::Exist && failure.body.attributes.is_some());
        assert!(failure.body.directory.after.is_some());
        remove(&world, ROOT, REMOVE, &world.root(), "f").await.expect("root may");
        assert_eq!(world.attributes(&file).await.links, 1);
    });
}
