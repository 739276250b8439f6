#!/usr/bin/env bash
# Installs the tools that a make target needs and that are missing, with the
# system's own package manager, and says so.
#
#   scripts/setup.sh build    a C compiler, make and git: LMDB, mimalloc and
#                             glommio's liburing are C
#   scripts/setup.sh test     also strace, with which the crash tests inject
#                             their kills, wrk and curl, and util-linux; rustfmt
#                             and clippy, where rustup can add them. Refuses where
#                             nothing can be mounted, as the tests of full disks
#                             would test nothing: CORELET_WITHOUT_MOUNTS=1 goes on
#   scripts/setup.sh bench    strace, wrk and curl as well
#
# Does nothing, in a few milliseconds, when everything is there. Rust itself is
# not installed: whoever builds from source chooses where it comes from. The
# guest's toolchain is scripts/guest-toolchain.sh.
set -euo pipefail

say() { echo "setup: $*" >&2; }

have() { command -v "$1" >/dev/null 2>&1; }

# The package that brings a command, by package manager.
package_of() { # manager command
    case "$1:$2" in
        apt-get:cc | zypper:cc) echo gcc ;;
        *:cc) echo gcc ;;
        apt-get:headers) echo libc6-dev ;;
        pacman:headers) echo linux-api-headers ;;
        *:headers) echo glibc-devel ;;
        *:unshare) echo util-linux ;;
        *) echo "$2" ;;
    esac
}

install() { # commands
    local manager="" root=() packages=() command
    for command in apt-get dnf pacman zypper; do
        if have "$command"; then manager=$command && break; fi
    done
    if [ -z "$manager" ]; then
        say "missing: $*; no apt-get, dnf, pacman or zypper here, so please install them yourself"
        exit 1
    fi
    if [ "$(id -u)" != 0 ]; then
        if ! have sudo; then
            say "missing: $*; not root and no sudo, so please install them yourself"
            exit 1
        fi
        root=(sudo)
    fi
    for command in "$@"; do packages+=("$(package_of "$manager" "$command")"); done
    say "installing ${packages[*]} with ${root[*]:+${root[*]} }$manager"
    case "$manager" in
        apt-get)
            # The lists may never have been fetched on a fresh machine.
            "${root[@]}" apt-get update -qq
            "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
            ;;
        dnf) "${root[@]}" dnf install -y -q "${packages[@]}" ;;
        pacman) "${root[@]}" pacman -Sy --needed --noconfirm "${packages[@]}" ;;
        zypper) "${root[@]}" zypper --non-interactive install "${packages[@]}" ;;
    esac
}

check_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    # rustup puts cargo where a shell that was open before does not look.
    if ! have cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
        say "cargo is in ~/.cargo/bin, which is not in PATH: run '. ~/.cargo/env' first"
        exit 1
    fi
    if ! have cargo || ! have rustc; then
        say "Rust $wanted or later is needed and not installed: see https://rustup.rs"
        exit 1
    fi
    found=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n' "$wanted" "${found%%-*}" | sort -V | head -n1)" != "$wanted" ]; then
        say "Rust $wanted or later is needed, and this is $found: 'rustup update stable' brings it"
        exit 1
    fi
}

# rustup's smallest profile has neither of the two that `make test` begins with.
check_rust_tools() {
    local tool missing=()
    cargo fmt --version >/dev/null 2>&1 || missing+=(rustfmt)
    cargo clippy --version >/dev/null 2>&1 || missing+=(clippy)
    if [ "${#missing[@]}" = 0 ]; then return; fi
    if have rustup; then
        say "adding ${missing[*]} with rustup"
        rustup component add "${missing[@]}"
    else
        say "missing: ${missing[*]}; install them where your Rust comes from"
        exit 1
    fi
}

check_mounts() {
    if scripts/can-mount.sh; then return; fi
    if [ "${CORELET_WITHOUT_MOUNTS:-}" != 1 ]; then
        say "set CORELET_WITHOUT_MOUNTS=1 to test without full disks"
        exit 1
    fi
    say "CORELET_WITHOUT_MOUNTS=1: the tests of full disks will test NOTHING"
}

cd "$(dirname "$0")/.."
what=${1:-build}
case "$what" in
    build) needed=(cc git make) ;;
    test) needed=(cc git make strace wrk curl unshare) ;;
    bench) needed=(cc git make strace wrk curl) ;;
    *)
        say "usage: scripts/setup.sh build|test|bench"
        exit 2
        ;;
esac

if [ "$(uname -s)" != Linux ]; then
    say "Corelet runs on Linux only: it is built on io_uring"
    exit 1
fi

missing=()
for command in "${needed[@]}"; do
    have "$command" || missing+=("$command")
done
# A compiler without the C library's headers compiles nothing.
[ -e /usr/include/stdio.h ] || missing+=(headers)
if [ "${#missing[@]}" != 0 ]; then install "${missing[@]}"; fi
check_rust
if [ "$what" = test ]; then
    check_rust_tools
    check_mounts
fi
