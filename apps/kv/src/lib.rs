//! Example application: kv.
