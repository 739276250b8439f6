#!/usr/bin/env bash
# Brings the recorded typing that `make bench` applies to texts to target/traces/automerge-paper.json:
# the keystrokes of a paper, 259,778 edits, as Kleppmann and Beresford have recorded them and others
# measure with them. It is a part of the source package of loro-internal, so cargo downloads and checks
# it like any crate; nothing of that is built here, and nothing of it is in this repository.
#
# Does nothing when the file is there. Without a network it says so and succeeds: the benchmark then
# makes typing up.
set -euo pipefail

CRATE=loro-internal
VERSION=1.17.1
NAME=automerge-paper
SUM=7cc2dcf1105898eca40671741fb70c44aec936d5b1b7906739f0db7ebca85645

say() { echo "trace: $*" >&2; }

cd "$(dirname "$0")/.."
trace=target/traces/$NAME.json
if [ -e "$trace" ]; then exit 0; fi

find_package() {
    compgen -G "${CARGO_HOME:-$HOME/.cargo}/registry/src/*/$CRATE-$VERSION/benches/$NAME.json.gz" | head -n1
}

package=$(find_package || true)
if [ -z "$package" ]; then
    say "asking cargo for the source of $CRATE $VERSION"
    # It has to read the package to tell of it. Elsewhere, as here it would look at our lock file.
    (cd / && cargo info --quiet "$CRATE@$VERSION" >/dev/null) || true
    package=$(find_package || true)
fi
if [ -z "$package" ]; then
    say "cargo could not bring it"
    exit 0
fi
mkdir -p target/traces
gzip -dc "$package" >"$trace.part"
if ! echo "$SUM  $trace.part" | sha256sum --check --status; then
    say "$package is not what was expected"
    rm "$trace.part"
    exit 1
fi
mv "$trace.part" "$trace"
