//! The `corelet` binary from outside, as people and scripts use it: a real
//! server on a free port, real commands, their output and their exit codes.

mod binary;
mod directory;
mod files;
mod offline;
mod refusals;
mod serving;
mod shown;
