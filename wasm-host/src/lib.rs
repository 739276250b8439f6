//! How strangers' code runs: engine, compile cache, instances, metering, limits, host functions.
