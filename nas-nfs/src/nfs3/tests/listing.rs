//! READDIR and READDIRPLUS.

use super::*;
use crate::limits::LISTING_MAX;

type Names_ = Result<Names, Failure<PostAttributes>>;
type NamesPlus_ = Result<NamesPlus, Failure<PostAttributes>>;

fn ask(directory: &Handle, cookie: u64, verifier: u64, count: u32) -> ReadDir {
    ReadDir { directory: directory.clone(), cookie, verifier, count }
}

fn ask_plus(directory: &Handle, cookie: u64, verifier: u64, names: u32, count: u32) -> ReadDirPlus {
    ReadDirPlus { directory: directory.clone(), cookie, verifier, names, count }
}

/// A directory with so many files, whose names are of many lengths.
async fn filled(world: &World, files: usize) -> (Handle, Vec<Bytes>) {
    let folder = world.folder("d").await;
    let mut names = Vec::new();
    for n in 0..files {
        let name = Bytes::from(format!("{n:04}{}", "x".repeat(n % 40)));
        let place = DirectoryName { directory: folder.clone(), name: name.clone() };
        let made: Made_ =
            world.ask(USER, CREATE, &Create { place, how: CreateHow::Guarded(owned(0o600)) }).await;
        made.expect("it is made");
        names.push(name);
    }
    (folder, names)
}

/// All names, asked for in answers of at most `count` bytes.
async fn all(world: &World, folder: &Handle, count: u32, plus: bool) -> Vec<Entry> {
    let (mut cookie, mut verifier, mut found) = (0, 0, Vec::new());
    loop {
        let (procedure, ask) = match plus {
            true => (READDIRPLUS, encoded(&ask_plus(folder, cookie, verifier, count / 4, count))),
            false => (READDIR, encoded(&ask(folder, cookie, verifier, count))),
        };
        let outcome = world.call(FRIEND, USER, procedure, ask.into()).await;
        let Outcome::Done(results) = &outcome else { panic!("{outcome:?}") };
        let len = results.output.clone().into_bytes().len();
        assert!(len <= count as usize, "{len} bytes, asked for {count}");
        let (entries, told_verifier, end) = if plus {
            let names: NamesPlus_ = decoded(outcome);
            let names = names.expect("a directory");
            for entry in &names.entries.0 {
                assert_eq!(entry.attributes.is_some(), entry.object.is_some());
                let is = |attributes: &FileAttributes| attributes.fileid == entry.entry.fileid;
                assert!(entry.attributes.as_ref().is_none_or(is));
            }
            (names.entries.0.into_iter().map(|plus| plus.entry).collect(), names.verifier, names.end)
        } else {
            let names: Names_ = decoded(outcome);
            let names = names.expect("a directory");
            (names.entries.0, names.verifier, names.end)
        };
        assert!(end || !entries.is_empty(), "a listing gets on");
        (verifier, cookie) = (told_verifier, entries.last().map_or(cookie, |entry: &Entry| entry.cookie));
        found.extend(entries);
        if end {
            return found;
        }
    }
}

#[test]
fn every_name_is_told_once_in_answers_of_any_size() {
    run(async {
        let world = World::new();
        let (folder, names) = filled(&world, 300).await;
        for plus in [false, true] {
            for count in [400, 512, 1000, 4096, 32_768, 1 << 20] {
                let found = all(&world, &folder, count.min(LISTING_MAX), plus).await;
                let told: Vec<&Bytes> = found.iter().map(|entry| &entry.name).collect();
                assert_eq!((&told[0][..], &told[1][..]), (&b"."[..], &b".."[..]));
                let mut told: Vec<Bytes> = told[2..].iter().map(|name| (*name).clone()).collect();
                told.sort();
                assert!(told == names, "{count} bytes, plus: {plus}");
                assert!(found.windows(2).all(|two| two[0].cookie < two[1].cookie));
                let root = world.attributes(&world.root()).await;
                assert_eq!(found[1].fileid, root.fileid);
            }
        }
        assert_eq!(world.budget.available(), MEMORY);
    });
}

#[test]
fn a_huge_count_is_bounded() {
    run(async {
        let world = World::new();
        let (folder, _) = filled(&world, 900).await;
        let ask = encoded(&ask_plus(&folder, 0, 0, u32::MAX, u32::MAX));
        let Outcome::Done(results) = world.call(FRIEND, USER, READDIRPLUS, ask.into()).await else {
            panic!("a directory")
        };
        assert!(results.output.into_bytes().len() <= LISTING_MAX as usize);
    });
}

#[test]
fn no_room_for_one_name_is_said() {
    run(async {
        let world = World::new();
        let (folder, _) = filled(&world, 3).await;
        for count in [0, 50, 108, 120] {
            let names: Names_ = world.ask(USER, READDIR, &ask(&folder, 0, 0, count)).await;
            let failure = names.expect_err("too small");
            assert!(failure.status == Status::TooSmall && failure.body.is_some(), "{count} bytes");
        }
    });
}

#[test]
fn names_that_come_and_go_disturb_no_cookie() {
    run(async {
        let world = World::new();
        let (folder, names) = filled(&world, 40).await;
        let first: Names_ = world.ask(USER, READDIR, &ask(&folder, 0, 0, 700)).await;
        let first = first.expect("a directory");
        let last = first.entries.0.last().expect("some").clone();
        // What was told last goes, and so does the name that comes next.
        let next = names[first.entries.0.len() - 2].clone();
        for name in [last.name.clone(), next.clone()] {
            let gone: Changed_ =
                world.ask(USER, REMOVE, &DirectoryName { directory: folder.clone(), name }).await;
            gone.expect("it was there");
        }
        let rest: Names_ = world.ask(USER, READDIR, &ask(&folder, last.cookie, first.verifier, 60_000)).await;
        let rest = rest.expect("the cookie is valid");
        let told: Vec<Bytes> = rest.entries.0.into_iter().map(|entry| entry.name).collect();
        assert_eq!(told, names[first.entries.0.len() - 1..]);
        world.trees[0].turn_cookies();
        let ask = ask(&folder, last.cookie, first.verifier, 60_000);
        let after: Names_ = world.ask(USER, READDIR, &ask).await;
        assert_eq!(status(after), Some(Status::BadCookie), "after a rollback");
    });
}

#[test]
fn only_directories_are_listed_and_by_who_may() {
    run(async {
        let world = World::new();
        let (file, folder) = (world.file("f").await, world.folder("d").await);
        let names: Names_ = world.ask(USER, READDIR, &ask(&file, 0, 0, 1000)).await;
        assert_eq!(status(names), Some(Status::NotDir));
        let close = SetAttr { object: folder.clone(), wanted: owned(0o700), guard: None };
        let _closed: Changed_ = world.ask(USER, SETATTR, &close).await;
        let names: Names_ = world.ask(OTHER, READDIR, &ask(&folder, 0, 0, 1000)).await;
        assert_eq!(status(names), Some(Status::Acces));
        let names: Names_ = world.ask(USER, READDIR, &ask(&folder, 0, 0, 1000)).await;
        let List(entries) = names.expect("the owner may").entries;
        assert_eq!(entries.len(), 2);
    });
}
