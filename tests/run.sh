#!/usr/bin/env bash
# All tests: installs what they need, then `cargo test`, then what other builders make of our cases
# (tests/conformance/run.sh), then one spec and the examples wherever they can be built (tests/matrix), then the sandbox on another kernel
# (tests/kernel), then the examples for real (tests/examples.sh), then the benchmark in small (tests/bench).
#
#   bash tests/run.sh [CARGO TEST ARGUMENTS…]
#
# Runs as root, or as a user who may use sudo. A test that skips is a failure. With arguments, only `cargo test` with them is run.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"
# shellcheck source=tests/support/lib.sh
. tests/support/lib.sh

bash tests/support/install.sh
ensure_test_user

log=$(mktemp)
release_log=$(mktemp)
release_pid=
clean_up() {
    local code=$?
    trap - EXIT
    [ -z "$release_pid" ] || kill "$release_pid" 2>/dev/null || true
    rm -f "$log" "$release_log"
    exit "$code"
}
trap clean_up EXIT

if [ $# -eq 0 ]; then
    # The program that the examples try is built while the tests run: they wait more than they compute.
    cargo test --workspace --locked --no-run
    nice bash tests/support/release.sh </dev/null >"$release_log" 2>&1 &
    release_pid=$!
fi

# The same random cases each time: what decides whether a change may land must not depend on luck. Without the variable each run tries others.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED-20260101}

note "cargo test --workspace $*"
CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never} cargo test --workspace --locked "$@" 2>&1 | tee "$log"

# Nothing is ever skipped in silence: neither by cargo's word nor by a test's own.
if grep -E '^test result: .*[^0-9][1-9][0-9]* ignored' "$log" || grep -E '^(SKIP|skipp(ed|ing))\b' "$log"; then
    die "tests were skipped (see the lines above); everything that they need must be there"
fi
passed=$(awk '/^test result: ok/ { sum += $4 } END { print sum + 0 }' "$log")
[ "$passed" -gt 0 ] || die "no test ran"

[ $# -eq 0 ] || exit 0
note "the cases of tests/suite/dockerfile, built by others"
bash tests/conformance/run.sh || die "other builders do not do what is expected of them (see above)"
bash tests/matrix/run.sh || die "not everybody builds the same (see above)"
wait "$release_pid" || {
    cat "$release_log" >&2
    die "the release build failed (its words are above)"
}
release_pid=
LAPSTRAKE=$(tail -n 1 "$release_log")
export LAPSTRAKE
bash tests/support/lean.sh "$LAPSTRAKE" || die "the program is not what it is said to be (see above)"
bash tests/matrix/apart.sh || die "the rung chroot does not keep apart what it should (see above)"
bash tests/matrix/users.sh || die "su and sudo do not work in steps as SECURITY.md says (see above)"
bash tests/matrix/examples.sh || die "not everybody builds the examples, or not the same (see above)"
bash tests/kernel/run.sh || die "the sandbox does not work on Debian's kernel (see above)"
bash tests/examples.sh || die "the examples failed (see above)"
note "the benchmark, small: that all of it works and makes the right images, not how fast"
bash tests/bench/run.sh --small --runs 1 --out "${CARGO_TARGET_DIR:-$top/target}/bench-small" || die "the benchmark failed (see above)"
note "all tests passed ($passed by cargo, and the examples)"
