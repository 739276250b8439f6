//! Tests that need the whole server.
