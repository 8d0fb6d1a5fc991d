# Podman, Docker and PostgreSQL, as the tests start and stop them. Sourced by tests/examples.sh and tests/matrix/*.sh.

# start_container NAME IMAGE [ENV…] [-- PODMAN ARGUMENTS…]
start_container() {
    local name=$1 image=$2 arguments=()
    shift 2
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        arguments+=(--env "$1")
        shift
    done
    [ $# -eq 0 ] || shift
    # Podman tries to make a systemd timer for a healthcheck, says that it cannot, and goes on.
    podman_run --detach --name "$name" "${arguments[@]}" "$@" "$image" >/dev/null 2>"$work/logs/podman" ||
        show_and_fail "$work/logs/podman" "podman does not run $image"
}

# stop_container NAME…: which must end by itself when it is asked to.
stop_container() {
    podman_here rm --force --time 120 "$@" >/dev/null 2>"$work/logs/podman" || show_and_fail "$work/logs/podman" "podman does not stop $*"
    if grep -q 'resorting to SIGKILL' "$work/logs/podman"; then
        show_and_fail "$work/logs/podman" "$*: had to be killed"
    fi
}

# answer NAME URL [CURL ARGUMENTS…]: what the container answers; else its log and an end.
answer() {
    local name=$1 url=$2
    shift 2
    if ! wait_for "$url" "$@"; then
        podman_here logs "$name" >&2 || true
        fail "$name does not answer at $url"
    fi
}

# post URL JSON
post() { curl --fail-with-body --silent --show-error --max-time 60 --noproxy '*' --header 'content-type: application/json' --data "$2" "$1"; }

# expect WHAT WANTED GOT
expect() { [ "$2" = "$3" ] || fail "$1: expected $2, got $3"; }

# expect_in WHAT WANTED GOT
expect_in() {
    case $3 in
    *"$2"*) ;;
    *) fail "$1: expected «$2» in: $3" ;;
    esac
}

start_docker() {
    [ -z "$docker_pid" ] || return 0
    mkdir -p "$work/docker"
    as_root setsid dockerd --data-root "$work/docker/data" --exec-root "$work/docker/exec" --pidfile "$work/docker/pid" \
        --insecure-registry "$registry" --iptables=false --bridge=none --storage-driver "$(docker_driver)" \
        -H "unix://$work/docker/docker.sock" </dev/null >"$work/logs/dockerd" 2>&1 &
    docker_pid=$!
    until_so "dockerd answers" docker_answers_or_ended || true
    docker_answers || show_and_fail "$work/logs/dockerd" "dockerd does not start"
}

docker_answers() { docker_here version >/dev/null 2>&1; }

docker_answers_or_ended() { docker_answers || ! as_root kill -0 "$docker_pid" 2>/dev/null; }

docker_driver() {
    case $(podman_driver) in
    overlay) echo overlay2 ;;
    *) echo vfs ;;
    esac
}

docker_here() { as_root docker -H "unix://$work/docker/docker.sock" "$@"; }

stop_docker() {
    local pid
    pid=$(as_root cat "$work/docker/pid" 2>/dev/null || true)
    [ -z "$pid" ] || as_root kill "$pid" 2>/dev/null || true
    [ -z "$pid" ] || until_so "dockerd ends" has_ended "$pid" || true
    # The engine leaves the name of its host network mounted.
    as_root umount "$work/docker/exec/netns/default" 2>/dev/null || true
    docker_pid=
}

# has_ended PID
has_ended() { ! as_root kill -0 "$1" 2>/dev/null; }

# start_postgres PORT: a throw-away cluster with the user and database `tester`, password `pass word`.
start_postgres() {
    local bin
    bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    [ -x "$bin/initdb" ] || fail "PostgreSQL is not installed"
    postgres_data=$work/postgres
    install -d -m 700 "$postgres_data"
    printf 'pass word' >"$work/postgres.password"
    chmod 644 "$work/postgres.password"
    as_root chown "$test_user:" "$postgres_data"
    as_test_user "$bin/initdb" --pgdata "$postgres_data/data" --username tester --pwfile "$work/postgres.password" \
        --auth scram-sha-256 --encoding UTF8 --locale C --no-sync >"$work/logs/initdb" 2>&1 || show_and_fail "$work/logs/initdb" "initdb failed"
    as_test_user "$bin/pg_ctl" --pgdata "$postgres_data/data" --log "$postgres_data/log" --wait --timeout "$patience_seconds" \
        --options "-c listen_addresses=127.0.0.1 -c port=$1 -c unix_socket_directories= -c fsync=off" start >"$work/logs/pg_ctl" 2>&1 </dev/null ||
        show_and_fail "$work/logs/pg_ctl" "PostgreSQL does not start"
    as_test_user PGPASSWORD='pass word' "$bin/createdb" --host 127.0.0.1 --port "$1" --username tester tester
}

stop_postgres() {
    local bin
    bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
    as_test_user "$bin/pg_ctl" --pgdata "$postgres_data/data" --mode immediate stop >/dev/null 2>&1 || true
    as_root rm -rf "$postgres_data"
    postgres_data=
}
