#!/usr/bin/env bash
# Runs the tests that get better the longer they run, and adds what they did to
# tests/LEDGER.md: a row per run and the sums of all rows.
#
#   CORELET_KILLS        how often the server is killed (default 5000)
#   CORELET_STORE_KILLS  how often a process that only writes is (default 20000)
#   CORELET_KEYED_KILLS  how often a server whose callers use idempotency keys is (default 500)
#   CORELET_COPY_KILLS   how often a restore, a reshard and an import are (default 2000 each)
#   CORELET_COPY_FAULTS  how many calls of each name fail in each kind of copy, with each
#                        error (default 100000, which is all of them)
#   CORELET_IMAGES       how many disks after a power cut are opened (default 1 million)
#   CORELET_COPY_IMAGES  how many of a restore, a reshard and an import are (default 2000 each)
#   CORELET_FLIPS        how many bits are flipped, one by one (default 500000)
#   CORELET_SERVER_FLIPS how many in a data directory that a server is then started on (default 2000)
#   CORELET_HISTORIES    how many histories of one key are merged, as many of several nodes
#                        with ledgers, and as many of lists and texts in each of four tests:
#                        two of their bytes, two of their order (default 100,000 each)
#   CORELET_HOPS         how many calls go from one shard to another (default 10 million)
#   CORELET_CALLS        during how many calls, every fourth of which fails, a server is watched
#                        for leaks (default 1 million); what it held before and after is printed
#
# A test counts when it prints a line that begins with a number and one of the
# words kills, faults, images, flips, histories, hops and calls. They run one after the
# other, each alone on the machine: with cargo-nextest where it is installed, which also ends what hangs, and with
# `cargo test` where not.
set -euo pipefail
cd "$(dirname "$0")/.."
export CORELET_SOAK=1 CORELET_KILLS=${CORELET_KILLS:-5000} CORELET_HOPS=${CORELET_HOPS:-10000000}
export CORELET_HISTORIES=${CORELET_HISTORIES:-100000} CORELET_KEYED_KILLS=${CORELET_KEYED_KILLS:-500}
export CORELET_STORE_KILLS=${CORELET_STORE_KILLS:-20000}
export CORELET_COPY_KILLS=${CORELET_COPY_KILLS:-2000} CORELET_COPY_FAULTS=${CORELET_COPY_FAULTS:-100000}
export CORELET_COPY_IMAGES=${CORELET_COPY_IMAGES:-2000}
export CORELET_CALLS=${CORELET_CALLS:-1000000}
export CORELET_IMAGES=${CORELET_IMAGES:-1000000} CORELET_FLIPS=${CORELET_FLIPS:-500000}
export CORELET_SERVER_FLIPS=${CORELET_SERVER_FLIPS:-2000}
ledger=tests/LEDGER.md
log=$(mktemp)
trap 'rm -f "$log"' EXIT

result=passed
long_runs() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --release --locked --workspace --profile soak --no-capture \
            -E 'test(kill) | test(faults_of) | test(images) | test(flip) | test(histories) | test(hops) | test(many_calls)'
    else
        echo "soak: cargo-nextest is not installed: using cargo test, which does not end what hangs" >&2
        cargo test --release --locked --no-fail-fast --workspace --bins --lib --tests \
            -- --test-threads 1 --nocapture kill faults_of images flip histories hops many_calls
    fi
}
long_runs 2>&1 | tee "$log" || result=FAILED

# How many of something the tests say they did, all together. cargo test puts a
# test's name in front of the first line that it prints.
count() { sed 's/^test [^ ]* \.\.\. //' "$log" | awk -v what="$1" '$1 ~ /^[0-9]+$/ && $2 ~ "^" what { sum += $1 } END { print sum + 0 }'; }

if [ ! -e "$ledger" ]; then
    cat >"$ledger" <<'PAGE'
# Ledger of the long runs

Written by `make soak`: what has been tried to break, and what came of it. Kills
are SIGKILLs of a process in the middle of its writes, each followed by a check
that every acknowledged write is there and no half of any other; faults are system
calls of a backup, a restore and the like that were made to fail, each followed by a
check that what was there is whole; images are disks as a power cut could have left
them, checked in the same way; flips are bits of a ledger's files, each turned over by
itself; histories are of several nodes, which have to end with the same; hops are calls
from one shard to another; calls are those to a server that may hold no more memory,
descriptors, instances or readers behind them than before, every fourth of which fails.

| date | commit | kernel | kills | faults | images | flips | histories | hops | calls | result |
|---|---|---|---|---|---|---|---|---|---|---|
PAGE
fi
# The row goes where the sums are, and they behind it again.
sed -i '/^Together: /d' "$ledger"
sed -i -e :a -e '/^\n*$/{$d;N;ba' -e '}' "$ledger"
echo "| $(date -u +%Y-%m-%d) | $(git rev-parse --short=12 HEAD 2>/dev/null || echo '?') | $(uname -r) | $(count kills) | $(count faults) | $(count images) | $(count flips) | $(count histories) | $(count hops) | $(count calls) | $result |" >>"$ledger"
awk -F '|' '$2 ~ /^ *[0-9]+-/ {
        runs++; kills += $5; faults += $6; images += $7; flips += $8; histories += $9; hops += $10; calls += $11
        if ($12 !~ /passed/) bad++
    }
    END { printf "\nTogether: %d runs, %d kills, %d faults, %d images, %d flips, %d histories, %d hops, %d calls, %d failed runs.\n", runs, kills, faults, images, flips, histories, hops, calls, bad }' "$ledger" >"$log"
cat "$log" >>"$ledger"
tail -n 3 "$ledger"
[ "$result" = passed ]
