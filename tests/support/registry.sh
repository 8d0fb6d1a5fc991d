#!/usr/bin/env bash
# Starts and stops Debian's docker-registry on a free loopback port.
#
#   registry.sh start DIRECTORY [HTPASSWD]   serves DIRECTORY; prints "PORT PID" once it answers
#   registry.sh stop PID                     ends that process, if it is a registry
#
# With HTPASSWD (a file made by `htpasswd -B`) it asks for basic authentication. Its log is DIRECTORY/registry.log.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/support/lib.sh
. "$here/lib.sh"

start() {
    local directory=$1 htpasswd=${2-} pid port
    need docker-registry "apt-get install docker-registry"
    need curl "apt-get install curl"
    mkdir -p "$directory/data"
    # Port 0 lets the kernel choose, so that two registries never want the same one; the log tells which it was.
    cat >"$directory/config.yml" <<CONFIG
version: 0.1
log:
  level: info
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: $directory/data
  delete:
    enabled: true
http:
  addr: 127.0.0.1:0
CONFIG
    if [ -n "$htpasswd" ]; then
        printf 'auth:\n  htpasswd:\n    realm: lapstrake-tests\n    path: %s\n' "$htpasswd" >>"$directory/config.yml"
    fi
    : >"$directory/registry.log"
    # No variable of the caller changes its settings (REGISTRY_… would). It holds none of the caller's descriptors, pipes above all.
    env -i PATH="$PATH" HOME="$directory" OTEL_TRACES_EXPORTER=none setsid docker-registry serve "$directory/config.yml" \
        </dev/null >"$directory/registry.log" 2>&1 8>&- 9>&- &
    pid=$!
    port=
    until_so "docker-registry answers" answers_or_ended || true
    if [ -n "$port" ] && kill -0 "$pid" 2>/dev/null; then
        printf '%s %s\n' "$port" "$pid"
        return 0
    fi
    kill "$pid" 2>/dev/null || true
    cat "$directory/registry.log" >&2
    die "docker-registry did not start; its log is above"
}

# Whether the registry of `start` answers, with its port in `port`, or has ended.
answers_or_ended() {
    kill -0 "$pid" 2>/dev/null || return 0
    port=$(sed -n '/.*listening on 127\.0\.0\.1:\([0-9]*\).*/ { s//\1/p; q; }' "$directory/registry.log")
    # 401 is an answer too.
    [ -n "$port" ] && curl --silent --max-time 30 --noproxy '*' -o /dev/null "http://127.0.0.1:$port/v2/"
}

stop() {
    local pid=$1 line
    # A number may by now be another process's.
    line=$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) || return 0
    case $line in
    "docker-registry serve "*) kill "$pid" ;;
    esac
}

case "${1-} $#" in
"start 2" | "start 3") start "${@:2}" ;;
"stop 2") stop "$2" ;;
*) die "usage: registry.sh start DIRECTORY [HTPASSWD] | registry.sh stop PID" ;;
esac
