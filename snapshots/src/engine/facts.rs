//! Single facts of datasets and snapshots, for those who ask often: no list is made, no name copied.

use super::Engine;
use crate::catalogue::{DatasetId, SnapshotId};
use crate::error::Error;
use block_layer::BLOCK;

impl Engine {
    /// The dataset of a snapshot that has a name.
    #[must_use]
    pub fn dataset_of(&self, id: SnapshotId) -> Option<DatasetId> {
        let state = self.space.lock();
        state.catalogue.snapshots.get(&id).filter(|s| s.name.is_some()).map(|s| s.dataset)
    }

    /// Which history the live side of a dataset is: a larger number after each rollback.
    ///
    /// # Errors
    /// The dataset does not exist.
    pub fn history(&self, dataset: DatasetId) -> Result<u64, Error> {
        Ok(u64::from(self.space.lock().live_branch(dataset)?.id.0))
    }

    /// Bytes that the live side of a dataset sees.
    ///
    /// # Errors
    /// The dataset does not exist.
    pub fn referenced(&self, dataset: DatasetId) -> Result<u64, Error> {
        let state = self.space.lock();
        let branch = state.live_branch(dataset)?;
        let own = state.held.get(&branch.id).map_or(0, crate::held::Held::referenced_live);
        Ok(own.saturating_add(branch.inherited).saturating_mul(BLOCK as u64))
    }
}
