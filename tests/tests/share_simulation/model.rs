//! A tree of files as plainly as can be said: names, and what they lead to.

use bytes::Bytes;
use std::collections::BTreeMap;
use volume_manager::share::types::{Fault, Stability};

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Directory,
    File(Vec<u8>),
    Link(Bytes),
}

/// An operation, on paths below the client's own directory.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    File(String),
    Directory(String),
    Symlink(String, Bytes),
    Remove(String),
    RemoveDirectory(String),
    Link(String, String),
    Rename(String, String),
    Write { path: String, offset: usize, data: Bytes, stability: Stability },
    Resize(String, usize),
    Commit(String),
}

impl Op {
    /// Whether all before it, and itself, is durable when it is answered with success.
    pub(crate) fn is_durable(&self) -> bool {
        !matches!(self, Op::Write { stability: Stability::Unstable, .. })
    }
}

/// The tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    /// Paths, and the objects they lead to.
    pub names: BTreeMap<String, usize>,
    pub objects: BTreeMap<usize, Node>,
    next: usize,
}

/// The directory of a path.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

impl Model {
    pub(crate) fn node(&self, path: &str) -> Option<&Node> {
        self.objects.get(self.names.get(path)?)
    }

    /// Directories, the client's own one included.
    pub(crate) fn directories(&self) -> Vec<String> {
        let all = self.names.keys().filter(|path| self.node(path) == Some(&Node::Directory)).cloned();
        std::iter::once(String::new()).chain(all).collect()
    }

    fn add(&mut self, path: &str, node: Node) -> Result<(), Fault> {
        if self.names.contains_key(path) {
            return Err(Fault::Exists);
        }
        self.next += 1;
        self.objects.insert(self.next, node);
        self.names.insert(path.into(), self.next);
        Ok(())
    }

    fn is_empty(&self, path: &str) -> bool {
        !self.names.keys().any(|other| parent(other) == path)
    }

    fn remove(&mut self, path: &str, directory: bool) -> Result<(), Fault> {
        match (self.node(path).ok_or(Fault::NotFound)?, directory) {
            (Node::Directory, false) => return Err(Fault::IsDirectory),
            (Node::File(_) | Node::Link(_), true) => return Err(Fault::NotDirectory),
            (Node::Directory, true) if !self.is_empty(path) => return Err(Fault::NotEmpty),
            _ => {}
        }
        self.drop_name(path);
        Ok(())
    }

    fn drop_name(&mut self, path: &str) {
        if let Some(object) = self.names.remove(path) {
            if !self.names.values().any(|other| *other == object) {
                self.objects.remove(&object);
            }
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        let object = *self.names.get(from).ok_or(Fault::NotFound)?;
        let is_directory = self.objects[&object] == Node::Directory;
        if is_directory
            && parent(from) != parent(to)
            && format!("{}/", parent(to)).starts_with(&format!("{from}/"))
        {
            return Err(Fault::Invalid);
        }
        if let Some(other) = self.names.get(to) {
            if *other == object {
                return Ok(());
            }
            match (is_directory, self.objects[other] == Node::Directory) {
                (true, false) => return Err(Fault::NotDirectory),
                (false, true) => return Err(Fault::IsDirectory),
                (true, true) if !self.is_empty(to) => return Err(Fault::NotEmpty),
                _ => self.drop_name(to),
            }
        }
        let moves = |path: &String| path == from || path.starts_with(&format!("{from}/"));
        let moved: Vec<String> = self.names.keys().filter(|path| moves(path)).cloned().collect();
        for path in moved {
            let object = self.names.remove(&path).expect("it was found");
            self.names.insert(format!("{to}{}", &path[from.len()..]), object);
        }
        Ok(())
    }

    fn file(&mut self, path: &str) -> Result<&mut Vec<u8>, Fault> {
        let object = *self.names.get(path).ok_or(Fault::NotFound)?;
        match self.objects.get_mut(&object) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Directory) => Err(Fault::IsDirectory),
            _ => Err(Fault::Invalid),
        }
    }

    /// Does what the tree must do.
    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), Fault> {
        match op {
            Op::File(path) => self.add(path, Node::File(Vec::new())),
            Op::Directory(path) => self.add(path, Node::Directory),
            Op::Symlink(path, target) => self.add(path, Node::Link(target.clone())),
            Op::Remove(path) => self.remove(path, false),
            Op::RemoveDirectory(path) => self.remove(path, true),
            Op::Link(path, new) => {
                let object = *self.names.get(path).ok_or(Fault::NotFound)?;
                match self.objects[&object] {
                    Node::Directory => Err(Fault::IsDirectory),
                    _ if self.names.contains_key(new) => Err(Fault::Exists),
                    _ => {
                        self.names.insert(new.clone(), object);
                        Ok(())
                    }
                }
            }
            Op::Rename(from, to) => self.rename(from, to),
            Op::Write { path, offset, data, .. } => {
                let content = self.file(path)?;
                if content.len() < offset + data.len() {
                    content.resize(offset + data.len(), 0);
                }
                content[*offset..offset + data.len()].copy_from_slice(data);
                Ok(())
            }
            Op::Resize(path, size) => self.file(path).map(|content| content.resize(*size, 0)),
            Op::Commit(path) => self.file(path).map(drop),
        }
    }

    /// The same whatever numbers the objects have: each by the first of its names.
    pub(crate) fn shape(&self) -> BTreeMap<String, (String, Node)> {
        let mut first: BTreeMap<usize, &String> = BTreeMap::new();
        for (path, object) in &self.names {
            first.entry(*object).or_insert(path);
        }
        let line = |(path, object): (&String, &usize)| {
            (path.clone(), (first[object].clone(), self.objects[object].clone()))
        };
        self.names.iter().map(line).collect()
    }
}
