#!/usr/bin/env bash
# The program as it is given to others: static, optimised, stripped. Prints where it is; what cargo says goes to stderr.
#
#   LAPSTRAKE=$(bash tests/support/release.sh)
#
# The command is the README's. A target must be named: without one the flags would count for build scripts and procedural macros too.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# Flags of the environment would replace those of static.toml.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
cargo build --release --locked --bin lapstrake --config static.toml --target "$(uname -m)-unknown-linux-gnu" --message-format json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
