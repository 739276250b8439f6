//! Write a Corelet application in Rust.
