#!/usr/bin/env bash
# The examples, built by everybody who may build: each image has one digest, answers where it was built (`lapstrake run`) and in a
# container of its own.
#
#   bash tests/matrix/examples.sh [WHO…]      all of the table below without an argument
#
# No example's README lists a layer that differs, so none may. A cell fails where steps run on another rung than the table says.
#
# Environment: LAPSTRAKE names the binary (default: a release build of this checkout); LAPSTRAKE_TEST_KEEP=1 leaves stores and logs of a
# failure where they are. Wants the packages of tests/support/install.sh, and root or sudo.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top"
# shellcheck source=tests/support/lib.sh
. tests/support/lib.sh
# shellcheck source=tests/support/engines.sh
. tests/support/engines.sh
# shellcheck source=tests/support/cells.sh
. tests/support/cells.sh
# shellcheck source=tests/support/builds.sh
. tests/support/builds.sh
# shellcheck source=tests/support/answers.sh
. tests/support/answers.sh

# WHO      the rung that is taken
people='
root       userns
ranges     userns
alone      single-id
docker     chroot
podman     userns
'

# EXAMPLE          IMAGE       what names its port  what is asked  what is answered
served='
django-wheels      web         PORT                 /healthz       "entries":0
taskflow-fastapi   backend     UVICORN_PORT         /api/health    "status":"ok"
flask-postgres     production  PORT                 /health        "database":"sqlite"
flask-celery       web         PORT                 /              <h1>Reports</h1>
fastapi-prod       api         UVICORN_PORT         /readyz        "status":"ok"
'

cells=()
declare -A rungs
while read -r who rung; do
    [ -n "$who" ] || continue
    rungs[$who]=$rung
    [ $# -gt 0 ] || cells+=("$who")
done <<<"$people"
for who in "$@"; do
    [ -n "${rungs[$who]-}" ] || die "nobody is called $who"
    cells+=("$who")
done

building=
registry_pid=
postgres_data=
# ask_to_end PID: what this shell of ours runs; then it ends itself.
ask_to_end() {
    local child
    for child in $(pgrep -P "$1"); do
        case $(cat "/proc/$child/comm" 2>/dev/null) in
        bash) ask_to_end "$child" ;;
        *) as_root kill -TERM "$child" 2>/dev/null || true ;;
        esac
    done
}

stop_all() {
    local code=$?
    trap - EXIT INT TERM
    set +e
    if [ -n "$building" ]; then
        ask_to_end "$building"
        wait "$building"
    fi
    [ -z "$postgres_data" ] || stop_postgres
    [ -z "$registry_pid" ] || bash tests/support/registry.sh stop "$registry_pid"
    (exit "$code")
    stop_cells
}

export LAPSTRAKE=${LAPSTRAKE-}
[ -n "$LAPSTRAKE" ] || LAPSTRAKE=$(bash tests/support/release.sh)
start_cells apps
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

give_cells_a_disk
# Nothing of the caller's.
export LAPSTRAKE_HOME=$work/store XDG_CONFIG_HOME=$work/project/config
read -r port registry_pid < <(bash tests/support/registry.sh start "$work/registry")
[ -n "$registry_pid" ] || die "the registry did not start"
registry=127.0.0.1:$port
write_settings "$XDG_CONFIG_HOME" "$registry"
bash tests/support/base.sh push "$registry" 2>"$work/logs/base" || show_and_fail "$work/logs/base" "the base is not made"
make_signing_key "$work/project/signing.key"
cp -R examples/*/ "$work/project/"
chmod -R a+rX "$work/project"
examples=()
for example in examples/*/lapstrake.toml; do
    example=${example%/*}
    examples+=("${example##*/}")
done
# Before anything is built beside them: a subshell would forget that they run.
start_docker_cells
start_podman_cells

# build_examples WHO: all of them, in its cell, pushed to its own part of the registry, and started there.
build_examples() {
    local who=$1 example
    built=$(out_of "$who" disk)
    for example in "${examples[@]}"; do
        # shellcheck disable=SC2046
        lapstrake_of "$who" build "$work/project/$example" --push --arg "registry=$registry/$who" --metadata-file "$built/$example.json" \
            --progress plain $(secrets_of "$example") >"$work/logs/$who.$example" 2>&1 || show_and_fail "$work/logs/$who.$example" "$who: $example does not build"
        note "$who: $example is built"
        answers_there "$who" "$example"
        note "$who: $example answers there"
    done
}

# lapstrake_of WHO ARGUMENTS…: in its cell.
lapstrake_of() {
    local who=$1
    shift
    in_cell "$who" disk env XDG_CONFIG_HOME="$XDG_CONFIG_HOME" "$work/bin/lapstrake" "$@" </dev/null
}

# answers_there WHO EXAMPLE: one of its images, run where it was built; it ends when it is asked to.
answers_there() {
    local who=$1 example=$2 log=$work/logs/$1.$2.run name image variable path wanted url running body= code=0
    read -r name image variable path wanted < <(grep "^$example " <<<"$served") || fail "it is not said what $example answers"
    url=http://127.0.0.1:$(free_port)
    lapstrake_of "$who" run --env "$variable=${url##*:}" --progress quiet "$(tag_of "$name" "$image")" >"$log" 2>&1 &
    running=$!
    until_so "$who: $image of $example answers" answers_or_ended || true
    ask_to_end "$running"
    wait "$running" || code=$?
    [[ ${body//[[:space:]]/} = *"$wanted"* ]] || show_and_fail "$log" "$who: $image of $example answers where it was built: «$body»"
    # Some end with 0, some by the signal.
    [ "$code" = 0 ] || [ "$code" = 143 ] || show_and_fail "$log" "$who: $image of $example ended with $code"
}

# Whether what `answers_there` started answers, or has ended.
answers_or_ended() { answers_at "$url$path" || ! as_root kill -0 "$running" 2>/dev/null; }

# is_the_same EXAMPLE: its images have the digests that they have in the first cell; where not, what differs is shown.
is_the_same() {
    local example=$1 first image
    first=$(out_of "${cells[0]}" disk)
    ! diff <(digests_of "$first/$example.json") <(digests_of "$built/$example.json") >&2 || return 0
    for image in $(jq -r '.images[].name' "$built/$example.json"); do
        "$LAPSTRAKE" diff "$(built=$first tag_of "$example" "$image")" "$(tag_of "$example" "$image")" >&2 || true
    done
    fail "$example: not the same built by $who as by ${cells[0]} (see above)"
}

answers_from() {
    local who=$1 example found
    built=$(out_of "$who" disk)
    for example in "${examples[@]}"; do
        found=$(jq -r '[.stages[].steps[].rung | values] | unique | join(" ")' "$built/$example.json")
        expect "$who: the rung of $example" "${rungs[$who]}" "$found"
        is_the_same "$example"
        "answers_${example//-/_}"
        note "$who: $example is the same, and answers in a container"
    done
}

# While one cell's images are asked, the next cell builds.
for ((at = 0; at <= ${#cells[@]}; at++)); do
    if [ -n "$building" ]; then
        wait "$building" || fail "${cells[$((at - 1))]}: see above"
        building=
    fi
    if [ $at -lt ${#cells[@]} ]; then
        build_examples "${cells[$at]}" &
        building=$!
    fi
    [ $at = 0 ] || answers_from "${cells[$((at - 1))]}"
done

# On no rung is the secret left in what a cell kept.
if as_root grep -rlaF -f "$work/patterns" "$work/stores/disk" "$work/out" "$work/logs" "$work/registry" >&2; then
    fail "the secret is in the files above"
fi
note "examples: ${#examples[@]}, in each of ${#cells[@]} cells: ${cells[*]}"
