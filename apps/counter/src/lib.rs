//! Example application: counter.
