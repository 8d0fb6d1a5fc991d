#!/usr/bin/env bash
# The program as it is given to others: static, optimised, stripped. Prints where it is; what cargo says goes to stderr.
#
#   LAPSTRAKE=$(bash tests/support/release.sh)
#
# The command is the README's. A target must be named: without one the flags would count for build scripts and procedural macros too.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=$(uname -m)-unknown-linux-gnu
RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin lapstrake --target "$target" >&2
echo "${CARGO_TARGET_DIR:-$PWD/target}/$target/release/lapstrake"
