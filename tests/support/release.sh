#!/usr/bin/env bash
# The program as it is given to others: static, optimised, stripped. Prints where it is; what cargo says goes to stderr.
#
#   LAPSTRAKE=$(bash tests/support/release.sh)
#
# The command is the README's. A target must be named: without one the flags would count for build scripts and procedural macros too.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# What starts an older one does not unpack its relocations.
libc=$(getconf GNU_LIBC_VERSION)
[ "$(printf '%s\n' 2.36 "${libc#glibc }" | sort --version-sort | head -n 1)" = 2.36 ] || {
    echo "error: the static program wants glibc 2.36 or newer to be built with, and here is $libc" >&2
    exit 1
}
# Flags of the environment would replace those of static.toml.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
cargo build --release --locked --bin lapstrake --config static.toml --target "$(uname -m)-unknown-linux-gnu" --message-format json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
