//! Between nodes: identity.
