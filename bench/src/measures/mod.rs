//! The measures, one file each. A measure starts the servers it needs on fresh
//! data, warms them up, loads them in turn and hands back figures and facts; it
//! leaves nothing running.

mod border;
mod fuel;
mod idle_contexts;
mod inside;
mod large_context;
mod large_module;
mod long_list;
mod merkle;
mod neighbour;
mod state;
mod steps;
mod system_calls;
mod throughput;

pub(crate) use border::border;
pub(crate) use fuel::fuel;
pub(crate) use idle_contexts::idle_contexts;
pub(crate) use inside::inside;
pub(crate) use large_context::large_context;
pub(crate) use large_module::large_module;
pub(crate) use long_list::long_list;
pub(crate) use merkle::merkle;
pub(crate) use neighbour::neighbour;
pub(crate) use state::state;
pub(crate) use steps::steps;
pub(crate) use system_calls::system_calls;
pub(crate) use throughput::throughput;
