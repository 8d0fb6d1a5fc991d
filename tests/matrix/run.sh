#!/usr/bin/env bash
# One spec of deterministic steps (lapstrake.toml here), built by everybody who may build, on every sort of file system: one digest,
# and the committed one (tests/golden/matrix.txt), so that two wrong ones cannot agree.
#
#   bash tests/matrix/run.sh [CELL…]      CELL is WHO, or WHO-STORE; all without an argument
#
# WHO and STORE are the two tables below. A cell fails where steps run on another rung than the table says.
#
# Environment: LAPSTRAKE names the binary (default: a debug build of this checkout); UPDATE=1 writes the golden digest anew, which is a line
# under "Digest changes" in CHANGELOG.md; LAPSTRAKE_TEST_KEEP=1 leaves stores and logs of a failure where they are.
# Wants the packages of tests/support/install.sh, and root or sudo.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top"
# shellcheck source=tests/support/lib.sh
. tests/support/lib.sh
# shellcheck source=tests/support/engines.sh
. tests/support/engines.sh
# shellcheck source=tests/support/cells.sh
. tests/support/cells.sh

# WHO             the rung that is taken    arguments of the build
people='
root              userns                    -
ranges            userns                    -
alone             single-id                 -
docker            chroot                    -
kubernetes        chroot                    -
podman            userns                    -
root-chroot       chroot                    --isolation chroot
podman-single-id  single-id                 --isolation single-id
root-single-id    single-id                 --isolation single-id
'
stores='disk overlay tmpfs'
golden=tests/golden/matrix.txt
file=tests/matrix/lapstrake.toml

start_cells matrix
trap stop_cells EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

project=$work/project
mkdir -p "$project"
cp "$file" "$project/lapstrake.toml"
cp "$(command -v busybox)" "$project/busybox"
rustc --edition 2024 -C target-feature=+crt-static -C opt-level=s -C strip=symbols -o "$project/set-capability" tests/matrix/set-capability.rs
printf 'a token' >"$project/token"
chmod -R a+rX "$project"

# build_cell WHO STORE RUNG [ARGUMENTS…]: sets the image's digest.
build_cell() {
    local who=$1 store=$2 wanted=$3 cell=$1-$2 found
    shift 3
    in_cell "$who" "$store" "$work/bin/lapstrake" build "$project" --created 1700000000 --progress plain \
        --metadata-file "$(out_of "$who" "$store")/metadata.json" --secret "id=token,src=$project/token" "$@" >"$work/logs/$cell" 2>&1 || show_and_fail "$work/logs/$cell" "$cell: does not build"
    found=$(jq -r '[.stages[].steps[].rung | values] | unique | join(" ")' "$(out_of "$who" "$store")/metadata.json")
    [ "$found" = "$wanted" ] || fail "$cell: steps ran on «$found», not on «$wanted»"
    digest=$(jq -r '.images[].digest' "$(out_of "$who" "$store")/metadata.json")
}

is_wanted() {
    local wanted
    [ ${#only[@]} -gt 0 ] || return 0
    for wanted in "${only[@]}"; do
        [ "$wanted" != "$1" ] && [ "$wanted" != "$1-$2" ] || return 0
    done
    return 1
}

only=("$@")
expected=$(cat "$golden" 2>/dev/null || true)
count=0
different=
while read -r who rung arguments; do
    [ -n "$who" ] || continue
    [ "$arguments" != - ] || arguments=
    for store in $stores; do
        # Its own root cannot be written.
        [ "$who-$store" != kubernetes-overlay ] || continue
        is_wanted "$who" "$store" || continue
        count=$((count + 1))
        # shellcheck disable=SC2086
        build_cell "$who" "$store" "$rung" $arguments </dev/null
        note "$who-$store: $rung, $digest"
        if [ -n "${UPDATE-}" ] && [ "$count" = 1 ]; then
            expected=$digest
            printf '%s\n' "$digest" >"$golden"
        fi
        if [ "$digest" != "$expected" ]; then
            different="$different $who-$store"
            jq -r '.images[].layers[].diff_id' "$(out_of "$who" "$store")/metadata.json" >&2
        fi
    done
done <<<"$people"
[ "$count" -gt 0 ] || fail "there is no such cell: ${only[*]}"
[ -z "$different" ] || fail "another digest than $expected in:$different (their layers are above)"
note "matrix: one digest in $count cells"
