//! The attribute macros of corelet-sdk.
