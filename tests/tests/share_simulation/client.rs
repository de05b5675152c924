//! A client: changes its own directory of the share, and knows what must be there.

use super::model::{Model, Node, Op};
use ashlar_tests::sim::Rng;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use volume_manager::share::types::{Change, Fault, FileName, Kind, New, ObjectRef, SetAttributes, Stability};
use volume_manager::share::Tree;

/// What a client has done: the states of its directory, one after each operation that took effect.
#[derive(Default)]
pub(crate) struct History {
    pub states: Vec<Model>,
    /// Operations that were answered, and those that are durable.
    pub answered: usize,
    pub durable: usize,
    pub ops: Vec<Op>,
}

/// See the module.
pub(crate) struct Client {
    pub tree: Arc<Tree>,
    pub home: FileName,
    pub history: Arc<Mutex<History>>,
    pub rng: Rng,
}

pub(crate) fn name(text: &str) -> FileName {
    FileName::new(Bytes::copy_from_slice(text.as_bytes())).expect("a good name")
}

/// Most bytes of a file.
const SIZE: u64 = 40_000;

impl Client {
    fn now(&self) -> Model {
        self.history.lock().expect("no panic").states.last().expect("there is a first one").clone()
    }

    fn path(&mut self, model: &Model) -> String {
        let directories = model.directories();
        let directory = self.rng.pick(&directories).clone();
        let name = *self.rng.pick(&["a", "b", "c", "d"]);
        let deep = directory.matches('/').count() >= 2;
        match directory.is_empty() || deep {
            true => name.to_owned(),
            false => format!("{directory}/{name}"),
        }
    }

    fn known(&mut self, model: &Model) -> String {
        let paths: Vec<String> = model.names.keys().cloned().collect();
        match paths.is_empty() || self.rng.chance(0.1) {
            true => self.path(model),
            false => self.rng.pick(&paths).clone(),
        }
    }

    fn op(&mut self, model: &Model) -> Op {
        let (known, path) = (self.known(model), self.path(model));
        match self.rng.below(100) {
            0..18 => Op::File(path),
            18..28 => Op::Directory(path),
            28..31 => Op::Symlink(path, Bytes::from_static(b"over/there")),
            31..41 => Op::Remove(known),
            41..46 => Op::RemoveDirectory(known),
            46..52 => Op::Link(known, path),
            52..66 => Op::Rename(known, path),
            66..90 => {
                let offset = self.rng.below(SIZE) as usize;
                let len = 1 + self.rng.below(9000) as usize;
                let data = Bytes::from(vec![1 + self.rng.below(255) as u8; len]);
                let stability = *self.rng.pick(&[Stability::Unstable, Stability::Unstable, Stability::File]);
                Op::Write { path: known, offset, data, stability }
            }
            90..97 => Op::Resize(known, self.rng.below(SIZE) as usize),
            _ => Op::Commit(known),
        }
    }

    /// Does one thing; whether the pool goes on.
    pub(crate) async fn step(&mut self) -> bool {
        let mut model = self.now();
        let op = self.op(&model);
        let expected = model.apply(&op);
        if expected.is_ok() {
            // From now on it may take effect.
            let mut history = self.history.lock().expect("no panic");
            history.states.push(model);
            history.ops.push(op.clone());
        }
        let answer = self.call(&op).await;
        if answer == Err(Fault::Unavailable) {
            return false;
        }
        assert_eq!(answer, expected, "{op:?}");
        if expected.is_ok() {
            let mut history = self.history.lock().expect("no panic");
            history.answered = history.states.len() - 1;
            if op.is_durable() {
                history.durable = history.answered;
            }
        }
        true
    }

    async fn at(&self, path: &str) -> Result<ObjectRef, Fault> {
        let mut at = self.tree.lookup(self.tree.root(), &self.home).await?.0;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            at = self.tree.lookup(at, &name(part)).await?.0;
        }
        Ok(at)
    }

    async fn place(&self, path: &str) -> Result<(ObjectRef, FileName), Fault> {
        let (directory, last) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.at(directory).await?, name(last)))
    }

    async fn make(&self, path: &str, new: New) -> Result<Change, Fault> {
        let (directory, name) = self.place(path).await?;
        Ok(Change::Make { directory, name, new })
    }

    async fn call(&self, op: &Op) -> Result<(), Fault> {
        let change = match op {
            Op::File(path) => self.make(path, New::FileOnly(SetAttributes::default())).await?,
            Op::Directory(path) => self.make(path, New::Directory(SetAttributes::default())).await?,
            Op::Symlink(path, target) => {
                self.make(path, New::Symlink(target.clone(), SetAttributes::default())).await?
            }
            Op::Remove(path) => {
                let (directory, name) = self.place(path).await?;
                Change::Remove { directory, name }
            }
            Op::RemoveDirectory(path) => {
                let (directory, name) = self.place(path).await?;
                Change::RemoveDirectory { directory, name }
            }
            Op::Link(path, new) => {
                let object = self.at(path).await?;
                let (directory, name) = self.place(new).await?;
                Change::Link { object, directory, name }
            }
            Op::Rename(path, new) => {
                let ((from, name), (to, new_name)) = (self.place(path).await?, self.place(new).await?);
                Change::Rename { from, name, to, new_name }
            }
            Op::Resize(path, size) => {
                let object = self.at(path).await?;
                let attributes = SetAttributes { size: Some(*size as u64), ..SetAttributes::default() };
                Change::Set { object, attributes, guard: None }
            }
            Op::Write { path, offset, data, stability } => {
                let file = self.at(path).await?;
                let written = self.tree.write(file, *offset as u64, data.clone(), *stability, false).await?;
                assert!(written.file.before.ctime < written.file.after.ctime, "ctime does not rise");
                return Ok(());
            }
            Op::Commit(path) => return self.tree.commit(self.at(path).await?).await.map(drop),
        };
        self.tree.change(change, None).await.map(drop)
    }

    /// What is there, read through the tree.
    pub(crate) async fn found(&self) -> Result<BTreeMap<String, (String, Node)>, Fault> {
        let mut found: BTreeMap<String, (u64, Node)> = BTreeMap::new();
        let mut todo = vec![(String::new(), self.at("").await?)];
        while let Some((path, directory)) = todo.pop() {
            let (mut cookie, mut verifier) = (0, 0);
            loop {
                let listing = self.tree.list(directory, cookie, verifier, 3, true).await?;
                verifier = listing.verifier;
                for entry in listing.entries {
                    assert!(entry.cookie > cookie, "cookies rise");
                    cookie = entry.cookie;
                    let text = String::from_utf8(entry.name.to_vec()).expect("a name of ours");
                    let path = if path.is_empty() { text } else { format!("{path}/{text}") };
                    let attributes = entry.attributes.expect("they were asked for");
                    let node = match attributes.kind {
                        Kind::Directory => {
                            todo.push((path.clone(), entry.object));
                            Node::Directory
                        }
                        Kind::Symlink => Node::Link(self.tree.read_link(entry.object).await?.0),
                        _ => {
                            let read = self.tree.read(entry.object, 0, 1 << 20).await?;
                            assert!(read.end, "a file is shorter than 1 MiB");
                            Node::File(read.data.to_vec())
                        }
                    };
                    found.insert(path, (entry.object.inode, node));
                }
                if listing.end {
                    break;
                }
            }
        }
        let mut first: BTreeMap<u64, String> = BTreeMap::new();
        for (path, (inode, _)) in &found {
            first.entry(*inode).or_insert_with(|| path.clone());
        }
        Ok(found.into_iter().map(|(path, (inode, node))| (path, (first[&inode].clone(), node))).collect())
    }
}
