//! The audit: a full walk of everything that any view sees, compared with what the accounts say.
//!
//! It is what the tests hold every crash to, and what an administrator can run on a pool in doubt. It reads
//! the whole map and keeps a record a block in memory; nothing should change meanwhile.

use super::Engine;
use crate::catalogue::{Cursor, Live};
use crate::decode::Damaged;
use crate::error::Error;
use crate::generation::PageKey;
use crate::ids::{BranchId, Epoch, ObjectId, PageNo};
use crate::key::{prefix_end, MapKey};
use crate::pages::View;
use block_layer::runtime::unblock;
use block_layer::Pba;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Something that the accounts say wrongly.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The walk itself failed.
    #[error(transparent)]
    Walk(#[from] Error),
    /// A figure is wrong.
    #[error("{what}: the accounts say {said}, the walk finds {found}")]
    Wrong {
        /// Which.
        what: String,
        /// By the accounts.
        said: u64,
        /// By the walk.
        found: u64,
    },
}

/// A block of a branch: where it is mapped, and to what. Views that share it make one holder.
type Holder = (ObjectId, PageNo, u8, Pba, Epoch);

/// A view of a branch as the audit sees it.
struct Seen {
    view: View,
    /// Pages before it are not held any more.
    cursor: Cursor,
    /// By the accounts: blocks that only it sees, for a snapshot that is whole.
    unique: Option<u64>,
    /// By the accounts: blocks that it sees.
    referenced: Option<u64>,
}

impl Engine {
    /// Walks everything and compares.
    ///
    /// # Errors
    /// The first figure that is wrong.
    pub async fn audit(&self) -> Result<(), AuditError> {
        let mut blocks: BTreeMap<Pba, u64> = BTreeMap::new();
        let branches: Vec<BranchId> = self.space.lock().catalogue.branches.keys().copied().collect();
        for branch in branches {
            self.audit_branch(branch, &mut blocks).await?;
        }
        same("blocks allocated", self.store.stats().space.allocated, blocks.len() as u64)?;
        for (pba, holders) in blocks {
            if self.store.needs_refs(pba) {
                self.store.load_refs(pba).await.map_err(Error::from)?;
            }
            same(&format!("holders of block {pba}"), self.store.extra_refs(pba) + 1, holders)?;
        }
        Ok(())
    }

    async fn audit_branch(
        &self,
        branch: BranchId,
        blocks: &mut BTreeMap<Pba, u64>,
    ) -> Result<(), AuditError> {
        let (views, first, total, inherited, live) = {
            let state = self.space.lock();
            // The background may have removed it meanwhile, and with it all that it held.
            let Some(record) = state.catalogue.branches.get(&branch) else { return Ok(()) };
            let held = &state.held[&branch];
            let mut views: Vec<Seen> = state
                .catalogue
                .snapshots_of(branch)
                .map(|s| Seen {
                    view: View::At(s.id.epoch),
                    cursor: s.reclaim.unwrap_or(Cursor::START),
                    unique: s.name.as_ref().and_then(|_| held.unique(s.id.epoch).ok()),
                    referenced: s.name.as_ref().map(|_| s.referenced),
                })
                .collect();
            let cursor = match record.live {
                Live::Yes => Some(Cursor::START),
                Live::Dying(cursor) => Some(cursor),
                Live::Gone => None,
            };
            let whole = record.live == Live::Yes;
            let referenced = whole.then(|| held.referenced_live().saturating_add(record.inherited));
            views.extend(cursor.map(|cursor| Seen { view: View::Live, cursor, unique: None, referenced }));
            (views, record.first, held.total(), record.inherited, whole)
        };
        let pages = self.all_pages(branch).await?;
        let mut holders: BTreeMap<Holder, Vec<View>> = BTreeMap::new();
        let mut seen_by: BTreeMap<View, u64> = BTreeMap::new();
        let mut foreign = 0;
        for (object, page) in pages {
            for seen in views.iter().filter(|seen| seen.cursor <= Cursor { object, page }) {
                let resolved = self.page_behind(PageKey { branch, object, page }, seen.view).await?;
                for (slot, pointer) in resolved.iter() {
                    *seen_by.entry(seen.view).or_default() += 1;
                    if pointer.birth() >= first {
                        let holder = (object, page, slot, pointer.pba(), pointer.birth());
                        holders.entry(holder).or_default().push(seen.view);
                    } else if seen.view == View::Live {
                        foreign += 1;
                    }
                }
            }
        }
        holders.keys().for_each(|(_, _, _, pba, _)| *blocks.entry(*pba).or_default() += 1);
        let name = |what: &str| format!("{what} of branch {}", branch.0);
        same(&name("blocks held"), total, holders.len() as u64)?;
        if live {
            same(&name("inherited blocks"), inherited, foreign)?;
        }
        let settled = views.iter().all(|seen| seen.cursor == Cursor::START);
        for seen in views.iter().filter(|_| settled) {
            let only = holders.values().filter(|views| views[..] == [seen.view]).count() as u64;
            if let Some(unique) = seen.unique {
                same(&name(&format!("unique blocks of {:?}", seen.view)), unique, only)?;
            }
            if let Some(referenced) = seen.referenced {
                let found = seen_by.get(&seen.view).copied().unwrap_or(0);
                same(&name(&format!("referenced blocks of {:?}", seen.view)), referenced, found)?;
            }
        }
        Ok(())
    }

    /// Every page that a branch, or a branch that it starts from, has a version of.
    async fn all_pages(&self, branch: BranchId) -> Result<BTreeSet<(ObjectId, PageNo)>, Error> {
        let mut pages = BTreeSet::new();
        let mut level = Some(branch);
        while let Some(branch) = level {
            {
                let state = self.space.lock();
                for generation in state.frozen.as_deref().into_iter().chain([&state.active]) {
                    pages.extend(generation.all_pages(branch));
                }
                level = state.catalogue.branches.get(&branch).and_then(|b| b.origin).map(|o| o.branch);
            }
            let index = self.store.index().clone();
            let found = unblock(&**self.store.runtime(), move || -> Result<_, Error> {
                let from = MapKey::of_branch(branch);
                let to = prefix_end(&from).expect("it begins with its kind");
                let (mut found, mut damaged) = (BTreeSet::new(), None::<Damaged>);
                index.scan(&from, &to, &mut |key, _| match MapKey::parse(key) {
                    Ok(key) => {
                        found.insert((key.object, key.page));
                        ControlFlow::Continue(())
                    }
                    Err(e) => {
                        damaged = Some(e);
                        ControlFlow::Break(())
                    }
                })?;
                damaged.map_or(Ok(found), |e| Err(e.into()))
            });
            pages.extend(found.await?);
        }
        Ok(pages)
    }
}

fn same(what: &str, said: u64, found: u64) -> Result<(), AuditError> {
    match said == found {
        true => Ok(()),
        false => Err(AuditError::Wrong { what: what.to_owned(), said, found }),
    }
}
