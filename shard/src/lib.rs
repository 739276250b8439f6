//! One core's world.
pub mod rt;
