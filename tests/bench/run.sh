#!/usr/bin/env bash
# The benchmark: lapstrake beside Debian's buildah and Docker's engine, on the same work, in the same run, in turn.
#
#   bash tests/bench/run.sh [--small] [--runs N] [--case LETTERS] [--tools NAMES] [--out DIRECTORY]
#
# README.md beside this file says what is measured and how. Wants root: the engines do, lapstrake does not.
# Environment: LAPSTRAKE names the binary (default: a release build of this checkout); TMPDIR_FAST where stores live (default: /dev/shm).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
cd "$top"
# shellcheck source=tests/support/lib.sh
. tests/support/lib.sh

bash tests/support/install.sh
if [ -z "${LAPSTRAKE-}" ]; then
    LAPSTRAKE=$(bash tests/support/release.sh)
fi

work=
registry_pid=
clean_up() {
    local code=$?
    trap - EXIT INT TERM
    [ -z "$registry_pid" ] || bash tests/support/registry.sh stop "$registry_pid" || true
    if [ -n "$work" ]; then
        # What the others mounted for their steps and have not taken away.
        sed -n "s|^[^ ]* \($work/[^ ]*\) .*|\1|p" /proc/self/mounts | sort -r | while read -r mounted; do as_root umount --lazy "$mounted" || true; done
        remove_tree "$work"
    fi
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

work=$(mktemp -d "${TMPDIR_FAST:-/dev/shm}/lapstrake-bench.XXXXXX")
mkdir -p "$work/config"
read -r port registry_pid < <(bash tests/support/registry.sh start "$work/registry")
[ -n "$registry_pid" ] || die "the registry did not start"
write_settings "$work/config" "127.0.0.1:$port"
case " $* " in
*" --small "*) ;;
*) LAPSTRAKE=$LAPSTRAKE XDG_CONFIG_HOME=$work/config bash tests/support/base.sh push "127.0.0.1:$port" ;;
esac
as_root python3 -B "$here/main.py" --program "$LAPSTRAKE" --work "$work" --registry "127.0.0.1:$port" "$@"
