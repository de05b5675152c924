//! What a life of the process has beside its clients, in seeds with extras: a pool that is filled before they
//! begin, devices that join and bits that flip meanwhile, walks and rot when they have finished.

use super::check;
use super::client::Flow;
use super::extras::Growing;
use super::run::{settle, World};
use crate::sim::PowerLost;
use snapshots::Engine;
use std::sync::Arc;
use std::time::Duration;

impl World {
    /// What comes before the clients, in seeds with extras.
    pub(super) fn prepare(&mut self, engine: &Arc<Engine>) -> Result<(), PowerLost> {
        let extras = self.options.extras;
        if extras.fill && self.rng.chance(0.6) {
            if self.rng.chance(0.3) {
                let writes = self.machine.sim().device_writes();
                self.machine.sim().cut_at_write(writes + 1 + self.rng.below(120));
            }
            let (mut client, index) = (self.client(engine), self.index.clone());
            let whole = self.rng.chance(0.7);
            let flow = self.machine.run(async {
                match whole {
                    true => client.fill_up().await,
                    false => client.fill_index(|bytes| index.set_free_bytes(bytes)).await,
                }
            })?;
            assert_eq!(flow, Flow::On, "nothing was to fail: {:?}", engine.failure());
            self.machine.sim().restore_power();
        }
        if extras.growing != Growing::No && self.rng.chance(0.5) {
            let (growth, engine) = (self.growth.clone(), engine.clone());
            let wait = self.machine.runtime().sleep(Duration::from_micros(self.rng.below(20_000)));
            self.machine.runtime().spawn(Box::pin(async move {
                wait.await;
                growth.run(engine).await;
            }));
        }
        if extras.rot > 0 {
            let (rot, disks, mut rng) = (self.rot.clone(), self.machine.disks().to_vec(), self.rng.fork());
            let runtime = self.machine.runtime();
            self.machine.runtime().spawn(Box::pin(async move {
                for _ in 0..rng.below(extras.rot + 1) {
                    runtime.sleep(Duration::from_micros(rng.below(20_000))).await;
                    rot.strike(&disks, &mut rng);
                }
            }));
        }
        Ok(())
    }

    /// What comes behind the clients, in seeds with extras: a walk in the middle of background work, and rot
    /// in a pool that has come to rest.
    pub(super) fn rest(&mut self, engine: &Arc<Engine>, over: bool) -> Result<(), PowerLost> {
        let extras = self.options.extras;
        if !extras.steps || engine.failure().is_some() || !over || self.rng.chance(0.5) {
            return Ok(());
        }
        self.calm_disks();
        let steps = self.rng.below(4);
        // What clients left behind: commands that they did not wait for.
        self.machine.run(self.machine.runtime().sleep(Duration::from_secs(5)))?;
        if engine.failure().is_some() {
            return Ok(());
        }
        self.machine.run(async {
            for _ in 0..steps {
                check::audit(engine).await;
                let _ = engine.background_step().await;
            }
        })?;
        if extras.rot > 0 && self.rng.chance(0.5) {
            self.machine.run(async {
                settle(engine).await;
                engine.checkpoint().await.expect("the pool is well");
            })?;
            self.rot.settle(self.machine.sim().device_writes());
            for _ in 0..1 + self.rng.below(extras.rot) {
                self.rot.strike(self.machine.disks(), &mut self.rng);
            }
        }
        Ok(())
    }
}
