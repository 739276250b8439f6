//! Builds an application crate into a component.
