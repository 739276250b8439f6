//! What the tests of the whole server share: components, and a node without a
//! server. Each test file under `tests/` says in its header what it shows.

mod component;
pub mod corpus;
mod damage;
pub mod hearing;
pub mod made;
mod node;
pub mod noting;
pub mod sending;
mod server;
mod small_disk;
pub mod smith;
mod waiting;
pub mod worker;

pub use component::{
    Doing, Upgradable, caching, component, component_path, counting, counting_of, hostile, many,
    spinner,
};
pub use damage::{GoodAndBad, flip, start_unlooked};
pub use node::{NodeKey, TestNode};
pub use server::{ANY_PORT, Answer, Client, Server, binary, free_address};
pub use small_disk::SmallDisk;
pub use waiting::{SetOnDrop, wait_for};
