//! The lock manager of NFSv3: NLM version 4.

pub mod ranges;
pub mod table;
