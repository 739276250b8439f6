#!/usr/bin/env bash
# Makes sure that this machine can compile guests (target wasm32-unknown-unknown), and prints how it does.
#
#   scripts/guest-toolchain.sh            the first way that works or can be installed
#   CORELET_GUEST_TOOLCHAIN=debian ...    only Debian's packages (or rustup: only the cargo in the path)
#
# The ways, in the order in which sdk/build/src/toolchain.rs looks for them:
#   rustup   the cargo in the path, with the target added by `rustup target add`
#   debian   the packages rustc-web cargo-web rust-web-src lld-14, which build the standard library from source
#
# Does nothing, in a few milliseconds, when the toolchain is there.
set -euo pipefail

TARGET=wasm32-unknown-unknown
DEBIAN_PACKAGES=(rustc-web cargo-web rust-web-src lld-14)

say() { echo "guest toolchain: $*" >&2; }

have() { command -v "$1" >/dev/null 2>&1; }

# Whether the rustc in the path has the target's standard library.
target_is_there() {
    local directory
    have cargo && have rustc || return 1
    directory=$(rustc --print target-libdir --target "$TARGET" 2>/dev/null) || return 1
    compgen -G "$directory/libstd-*" >/dev/null
}

add_target() {
    have rustup || return 1
    say "adding $TARGET with rustup"
    rustup target add "$TARGET" >&2 && target_is_there
}

debian_is_there() {
    local sysroot
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && have wasm-ld-14 || return 1
    sysroot=$(/usr/bin/rustc --print sysroot 2>/dev/null) || return 1
    [ -e "$sysroot/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}

add_debian() {
    local root=()
    have apt-get || return 1
    if [ "$(id -u)" != 0 ]; then
        have sudo || return 1
        root=(sudo)
    fi
    say "installing ${DEBIAN_PACKAGES[*]} with ${root[*]:+${root[*]} }apt-get"
    # The lists may never have been fetched on a fresh machine.
    "${root[@]}" apt-get update -qq >&2 &&
        "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${DEBIAN_PACKAGES[@]}" >/dev/null &&
        debian_is_there
}

by_target() { say "the cargo in the path builds guests, with its target $TARGET"; }

by_debian() { say "Debian's rustc-web builds guests, with the standard library from source"; }

case "${CORELET_GUEST_TOOLCHAIN:-}" in
    "")
        # What is there goes before what has to be fetched.
        if target_is_there; then by_target
        elif debian_is_there; then by_debian
        elif add_target; then by_target
        elif add_debian; then by_debian
        else
            say "cannot compile guests: no rustup that can add $TARGET, and no apt-get (as root or with sudo) that can install ${DEBIAN_PACKAGES[*]}"
            exit 1
        fi
        ;;
    rustup)
        if target_is_there || add_target; then by_target
        else
            say "the rustc in the path has no $TARGET, and rustup cannot add it"
            exit 1
        fi
        ;;
    debian)
        if debian_is_there || add_debian; then by_debian
        else
            say "cannot install ${DEBIAN_PACKAGES[*]}: that takes apt-get, as root or with sudo"
            exit 1
        fi
        ;;
    *)
        say "CORELET_GUEST_TOOLCHAIN is '$CORELET_GUEST_TOOLCHAIN'; expected rustup or debian"
        exit 2
        ;;
esac
