//! A case: one history, one seed, one cut; as a value and as the text that replays it.

use super::model::{Action, Op, World};
use crate::sim::Rng;
use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

/// What there is before the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prologue {
    /// An empty volume.
    Empty,
    /// A volume that was written, snapshotted and overwritten.
    Used,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Loss of power while this device write is in flight.
    Power(u64),
    /// The death of the process at that moment.
    Kill(u64),
    /// The death of the process after everything was answered and a while has passed.
    End,
}

/// One run. Its text (`used:write,clone;seed=7;power@12`) replays it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What there is before.
    pub prologue: Prologue,
    /// The history.
    pub ops: Vec<Op>,
    /// Of everything that is left to chance.
    pub seed: u64,
    /// The end.
    pub cut: Cut,
}

impl Case {
    /// The actions of prologue and history; `None` when a command has nothing that it could be done to.
    #[must_use]
    pub fn actions(&self) -> Option<Vec<Action>> {
        let mut rng = Rng::new(self.seed ^ 0x5eed);
        let mut world = World::default();
        let mut actions = Vec::new();
        let create = Action::Create { volume: "v00".into() };
        world = world.after(&create);
        actions.push(create);
        let before: &[Op] = match self.prologue {
            Prologue::Empty => &[],
            Prologue::Used => &[Op::Write, Op::Write, Op::Snapshot, Op::Overwrite, Op::Write],
        };
        for (nth, op) in before.iter().chain(&self.ops).enumerate() {
            let action = world.tie(*op, nth + 1, &mut rng)?;
            world = world.after(&action);
            actions.push(action);
        }
        Some(actions)
    }

    /// A seed of this history's own, the same on any machine.
    #[must_use]
    pub fn own_seed(prologue: Prologue, ops: &[Op], seed: u64) -> u64 {
        let mut hasher = rustc_hash::FxHasher::default();
        hasher.write_u64(seed);
        hasher.write_u8(prologue as u8);
        ops.iter().for_each(|op| hasher.write_u8(*op as u8));
        hasher.finish() >> 24
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prologue = if self.prologue == Prologue::Empty { "empty" } else { "used" };
        let name = |op: &Op| Op::ALL.iter().find(|(o, _)| o == op).expect("ALL has all").1;
        let names: Vec<_> = self.ops.iter().map(name).collect();
        write!(f, "{prologue}:{};seed={};", names.join(","), self.seed)?;
        match self.cut {
            Cut::Power(at) => write!(f, "power@{at}"),
            Cut::Kill(at) => write!(f, "kill@{at}"),
            Cut::End => f.write_str("end"),
        }
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Case, String> {
        let parts: Vec<&str> = text.split(';').collect();
        let [history, seed, cut] = parts[..] else { return Err(format!("no case: {text}")) };
        let (prologue, names) = history.split_once(':').ok_or("no prologue")?;
        let op = |name: &str| {
            let known = Op::ALL.iter().find(|(_, n)| *n == name);
            known.map(|(op, _)| *op).ok_or_else(|| format!("no command: {name}"))
        };
        let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
        let cut = match cut.split_once('@') {
            Some(("power", at)) => Cut::Power(number(at)?),
            Some(("kill", at)) => Cut::Kill(number(at)?),
            None if cut == "end" => Cut::End,
            _ => return Err(format!("no cut: {cut}")),
        };
        Ok(Case {
            prologue: if prologue == "empty" { Prologue::Empty } else { Prologue::Used },
            ops: names.split(',').filter(|n| !n.is_empty()).map(op).collect::<Result<_, _>>()?,
            seed: number(seed.strip_prefix("seed=").ok_or("no seed")?)?,
            cut,
        })
    }
}
