//! READDIR and READDIRPLUS (RFC 1813 3.3.16, 3.3.17).
//!
//! Cookies 1 and 2 are those of `.` and `..`; the others are the tree's own, which keep their meaning while
//! names come and go. An answer is never longer than was asked for, nor than [`LISTING_MAX`].

use super::arguments::{ReadDir, ReadDirPlus};
use super::at::{bare, At, Caller};
use super::results::{Entry, EntryPlus, Names, NamesPlus};
use super::types::{Failure, FileAttributes, Handle, PostAttributes, Status};
use super::Nfs3;
use crate::access;
use crate::limits::{LISTING_BATCH, LISTING_MAX};
use crate::rpc::{Outcome, Results};
use crate::tree::{Attributes, FileTree, Kind, ObjectRef};
use crate::xdr::{List, Writer, Xdr, UNIT};
use bytes::Bytes;

/// Status, attributes, verifier, the list's end, and whether it is the directory's end.
const FIXED: usize = 4 + 4 + FileAttributes::LEN + 8 + 4 + 4;
/// The cookie of `.`; that of `..` is one more.
const SELF_COOKIE: u64 = 1;
const PARENT_COOKIE: u64 = 2;

/// What is asked for, of either procedure.
struct Ask {
    directory: Handle,
    cookie: u64,
    verifier: u64,
    /// Bytes of names, cookies and inode numbers; bytes in all.
    names: usize,
    count: usize,
    plus: bool,
}

/// What was found so far.
struct Found {
    entries: Vec<EntryPlus>,
    names_left: usize,
    left: usize,
    plus: bool,
}

impl<T: FileTree> Nfs3<T> {
    /// READDIR.
    pub(super) async fn readdir(&self, caller: Caller, ask: ReadDir) -> Outcome {
        let ReadDir { directory, cookie, verifier, count } = ask;
        let count = count.min(LISTING_MAX) as usize;
        self.names(caller, Ask { directory, cookie, verifier, names: usize::MAX, count, plus: false }).await
    }

    /// READDIRPLUS.
    pub(super) async fn readdirplus(&self, caller: Caller, ask: ReadDirPlus) -> Outcome {
        let ReadDirPlus { directory, cookie, verifier, names, count } = ask;
        let (names, count) = (names as usize, count.min(LISTING_MAX) as usize);
        self.names(caller, Ask { directory, cookie, verifier, names, count, plus: true }).await
    }

    async fn names(&self, caller: Caller, ask: Ask) -> Outcome {
        let failed = |failure: Failure<PostAttributes>| Outcome::done(&Err::<(), _>(failure));
        let at = match At::open(&self.exports, &caller, &ask.directory) {
            Ok(at) => at,
            Err(status) => return failed(bare(status)),
        };
        let permit = caller.budget.take(ask.count).await.ok();
        match at.explain(list(&at, &ask).await).await {
            // All of it counts as payload, so that it is accounted for until it is sent.
            Ok(output) => {
                let payload = Some(Bytes::from(output.into_bytes()));
                Outcome::Done(Results { output: Writer { bytes: Vec::new(), payload }, permit })
            }
            Err(failure) => failed(failure),
        }
    }
}

async fn list<T: FileTree>(at: &At<T>, ask: &Ask) -> Result<Writer, Status> {
    let attributes = at.attributes().await?;
    if attributes.kind != Kind::Directory {
        return Err(Status::NotDir);
    }
    access::list(&at.user, &attributes)?;
    let left = ask.count.saturating_sub(FIXED);
    let mut found = Found { entries: Vec::new(), names_left: ask.names, left, plus: ask.plus };
    let mut cookie = if ask.cookie <= PARENT_COOKIE { 0 } else { ask.cookie };
    let mut verifier = ask.verifier;
    let mut first = true;
    let (end, directory) = loop {
        let limit = found.room().clamp(1, LISTING_BATCH);
        let listing = at.tree().list(at.object, cookie, verifier, limit, ask.plus).await?;
        verifier = listing.verifier;
        let parent = listing.parent;
        let dots = [(SELF_COOKIE, at.object, Some(&listing.attributes)), (PARENT_COOKIE, parent, None)];
        let dots = dots.into_iter().filter(|(cookie, ..)| first && *cookie > ask.cookie);
        let mut full = dots.into_iter().any(|(cookie, object, attributes)| {
            let name = Bytes::from_static(if cookie == SELF_COOKIE { b"." } else { b".." });
            !found.add(at, cookie, name, object, attributes)
        });
        first = false;
        for entry in listing.entries {
            if full {
                break;
            }
            full = !found.add(at, entry.cookie, entry.name, entry.object, entry.attributes.as_ref());
            if !full {
                cookie = entry.cookie;
            }
        }
        if full || listing.end {
            break (!full, at.told(&listing.attributes));
        }
    };
    if found.entries.is_empty() && !end {
        return Err(Status::TooSmall);
    }
    Ok(found.tell(directory, verifier, end))
}

impl Found {
    /// Entries that may still fit: all of names of one byte.
    fn room(&self) -> usize {
        self.left / (4 + 8 + 4 + UNIT + 8) + 1
    }

    /// Adds a name; false if it does not fit.
    fn add<T: FileTree>(
        &mut self,
        at: &At<T>,
        cookie: u64,
        name: Bytes,
        object: ObjectRef,
        attributes: Option<&Attributes>,
    ) -> bool {
        let told = attributes.filter(|_| self.plus).map(|of| FileAttributes::new(object.inode, of));
        let handle = told.is_some().then(|| at.handle(object));
        let name_len = 8 + 4 + name.len().next_multiple_of(UNIT) + 8;
        let handle_len = handle.as_ref().map_or(0, |Handle(bytes)| 4 + bytes.len().next_multiple_of(UNIT));
        let told_len = if told.is_some() { FileAttributes::LEN } else { 0 };
        let len = 4 + name_len + if self.plus { 4 + told_len + 4 + handle_len } else { 0 };
        // One name is always told, however little of names is asked for: a listing must get on.
        let names_fit = self.entries.is_empty() || name_len <= self.names_left;
        if len > self.left || !names_fit {
            return false;
        }
        self.left -= len;
        self.names_left = self.names_left.saturating_sub(name_len);
        let entry = Entry { fileid: object.inode, name, cookie };
        self.entries.push(EntryPlus { entry, attributes: told, object: handle });
        true
    }

    /// The results.
    fn tell(self, directory: FileAttributes, verifier: u64, end: bool) -> Writer {
        let attributes = Some(directory);
        let mut output = Writer::default();
        0_u32.put(&mut output);
        if self.plus {
            NamesPlus { attributes, verifier, entries: List(self.entries), end }.put(&mut output);
        } else {
            let entries = List(self.entries.into_iter().map(|plus| plus.entry).collect());
            Names { attributes, verifier, entries, end }.put(&mut output);
        }
        output
    }
}
