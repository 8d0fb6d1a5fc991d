#!/usr/bin/env bash
# The examples for real: each is built, pushed, read by other tools, run, and asked.
#
#   bash tests/examples.sh [EXAMPLE…]
#
# Environment: LAPSTRAKE names the binary (default: a release build of this checkout); LAPSTRAKE_TEST_KEEP=1 leaves stores, logs and
# metadata where they are when something fails, to be looked at.
# Wants the packages of tests/support/install.sh, and root or sudo: container engines need it, lapstrake does not.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top"
# shellcheck source=tests/support/lib.sh
. tests/support/lib.sh

all=(django-wheels taskflow-fastapi flask-postgres flask-celery fastapi-prod)
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=("${all[@]}")

work=
registry_pid=
docker_pid=
postgres_data=
clean_up() {
    local code=$?
    trap - EXIT INT TERM
    if [ -n "$work" ]; then
        if [ -d "$work/podman" ]; then
            podman_here rm --all --force --time 2 >/dev/null 2>&1 || true
            podman_here system reset --force >/dev/null 2>&1 || true
        fi
        [ -z "$docker_pid" ] || stop_docker
        [ -z "$postgres_data" ] || stop_postgres
        [ -z "$registry_pid" ] || bash tests/support/registry.sh stop "$registry_pid" || true
        if [ "$code" != 0 ] && [ -n "${LAPSTRAKE_TEST_KEEP-}" ]; then
            note "everything is left in $work"
        else
            remove_tree "$work"
        fi
    fi
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for program in curl docker-registry jq python3 podman runc skopeo umoci zstd dockerd setpriv; do
    need "$program" "run tests/run.sh, which installs it"
done

if [ -z "${LAPSTRAKE-}" ]; then
    LAPSTRAKE=$(bash tests/support/release.sh)
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/lapstrake-examples.XXXXXX")
# The test user goes through it.
chmod 755 "$work"
mkdir -p "$work/podman" "$work/logs"
# A copy where the test user may read it.
install -m 755 "$LAPSTRAKE" "$work/lapstrake"
export LAPSTRAKE=$work/lapstrake XDG_CONFIG_HOME=$work/config LAPSTRAKE_HOME=$work/store

# shellcheck source=tests/support/engines.sh
. tests/support/engines.sh
# shellcheck source=tests/support/builds.sh
. tests/support/builds.sh
# shellcheck source=tests/support/dockerfiles.sh
. tests/support/dockerfiles.sh
# shellcheck source=tests/support/answers.sh
. tests/support/answers.sh
# shellcheck source=tests/support/otherwise.sh
. tests/support/otherwise.sh

read -r port registry_pid < <(bash tests/support/registry.sh start "$work/registry")
[ -n "$registry_pid" ] || die "the registry did not start"
registry=127.0.0.1:$port
write_settings "$XDG_CONFIG_HOME" "$registry"
bash tests/support/base.sh push "$registry"
ensure_test_user

make_signing_key "$work/signing.key"
built=$work

for example in "${wanted[@]}"; do
    [ -f "examples/$example/lapstrake.toml" ] || die "no example called $example"
    note "$example: building"
    "$LAPSTRAKE" check "examples/$example"
    builds_twice_the_same "$example"
    note "$example: its Dockerfile"
    dockerfile_makes_the_same "$example"
    note "$example: other tools"
    is_read_by_other_tools "$example"
    note "$example: running"
    "answers_${example//-/_}"
    note "$example: otherwise"
    builds_otherwise "$example"
done

case " ${wanted[*]} " in
*" fastapi-prod "*)
    note "looking for the secret"
    secret_is_nowhere
    ;;
esac
note "examples: ${wanted[*]} passed"
