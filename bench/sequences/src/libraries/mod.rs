//! One adapter per library, each behind the feature of its name.

#[cfg(feature = "automerge")]
pub mod automerge;
#[cfg(feature = "cola")]
pub mod cola;
#[cfg(feature = "diamond")]
pub mod diamond;
#[cfg(feature = "loro")]
pub mod loro;
#[cfg(feature = "own")]
pub mod own;
#[cfg(feature = "yrs")]
pub mod yrs;
