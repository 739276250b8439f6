#!/usr/bin/env bash
# Runs tests with cargo-nextest where it is installed, and with `cargo test`
# where not. The arguments go to either. nextest ends what hangs
# (.config/nextest.toml) and runs each test in its own process; cargo test does
# neither. The examples in doc comments come after, and always all of them:
# nextest cannot run them. Tests that need a mount fail where none can be made,
# unless CORELET_WITHOUT_MOUNTS=1 says that they may test nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
result=0
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --release --locked --no-fail-fast "$@" || result=$?
else
    echo "tests: cargo-nextest is not installed ('cargo install cargo-nextest --locked' takes some minutes): using cargo test" >&2
    cargo test --release --locked --no-fail-fast --bins --lib --tests "$@" || result=$?
fi
cargo test --release --locked --no-fail-fast --workspace --doc || result=$?
if ! scripts/can-mount.sh 2>/dev/null; then
    echo "tests: nothing can be mounted here: NO FULL DISK WAS TESTED (tests/tests/full_disk.rs, and the data directory in tests/tests/doctor.rs)" >&2
fi
exit "$result"
