#!/usr/bin/env bash
# What is said of the program that is given to others: static, stripped, no larger than it is said to be; it runs where there is nothing else.
#
#   bash tests/support/lean.sh PROGRAM
set -euo pipefail

# shellcheck source=tests/support/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
program=$1
bytes=$(stat --format %s "$program")
[ "$bytes" -lt 15000000 ] || die "$program has $bytes bytes, and should have less than 15,000,000"
headers=$(readelf --wide --program-headers --section-headers "$program")
! grep -q INTERP <<<"$headers" || die "$program asks for a loader: it is not static"
! grep -qE '\.(symtab|debug_info)' <<<"$headers" || die "$program is not stripped"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cp "$program" "$root/lapstrake"
as_root chroot "$root" /lapstrake --version
