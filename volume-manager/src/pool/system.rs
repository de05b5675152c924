//! The pool's own small store: what belongs to volumes but must not go back in time with them.
//!
//! It is a dataset without block data that nobody snapshots. It holds persistent reservations, by volume, and
//! of shares their numbers and what is kept for their clients (see `crate::share::format`).

use super::Pool;
use crate::error::Error;
use snapshots::engine::{EntryCondition, EntryEdit};
use snapshots::{DatasetId, Engine};

/// Its name, which no volume can have.
pub(crate) const SYSTEM: &str = ".system";
const KIND: u8 = 255;

fn reservations_of(volume: DatasetId) -> Vec<u8> {
    format!("reservations/{}", volume.0).into_bytes()
}

impl Pool {
    pub(super) async fn system(&self, engine: &Engine) -> Result<DatasetId, Error> {
        match engine.find_dataset(SYSTEM) {
            Ok(id) => Ok(id),
            Err(_) => match engine.create_dataset(SYSTEM, KIND, 0, b"").await {
                // Two came at once.
                Err(snapshots::Error::Exists(_)) => engine.find_dataset(SYSTEM).map_err(|e| self.fault_of(e)),
                made => made.map_err(|e| self.fault_of(e)),
            },
        }
    }

    /// Keeps a volume's reservations, durably; empty bytes remove them.
    pub(crate) async fn save_reservations(&self, volume: DatasetId, state: &[u8]) -> Result<(), Error> {
        let engine = self.engine()?;
        let system = self.system(&engine).await?;
        let value = (!state.is_empty()).then(|| state.to_vec());
        let edit = EntryEdit { name: reservations_of(volume), value, condition: EntryCondition::Any };
        engine.edit(system, &[edit], None).await.map_err(|e| self.fault_of(e))?;
        engine.flush().await.map(drop).map_err(|e| self.fault_of(e))
    }

    /// A volume's reservations, as they were saved.
    pub(crate) async fn reservations(&self, volume: DatasetId) -> Result<Option<Vec<u8>>, Error> {
        let engine = self.engine()?;
        let Ok(system) = engine.find_dataset(SYSTEM) else { return Ok(None) };
        engine.get(system, None, &reservations_of(volume)).await.map_err(|e| self.fault_of(e))
    }
}
