//! The outside of Corelet: configuration, HTTP front door, admin API, metrics and the corelet binary.
