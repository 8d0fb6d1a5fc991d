# Small things that every script of the tests and examples/quickstart.sh use. Sourced, not run.

lib_file=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/lib.sh

# Says what happens, on stderr: stdout is for answers.
note() { printf '==> %s\n' "$*" >&2; }

# Says why it cannot go on.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# fail WHAT: a rule does not hold.
fail() { die "$*"; }

# show_and_fail FILE WHAT: the same, behind what was printed about it.
show_and_fail() {
    cat "$1" >&2
    fail "$2"
}

# need PROGRAM REMEDY: stops with the remedy where the program is missing.
need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing; $2"; }

# Where what is slow to make is kept from run to run.
test_cache() { printf '%s\n' "${LAPSTRAKE_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/lapstrake-tests}"; }

# as_root COMMAND…: runs it as root, by sudo where we are somebody else.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        need sudo "run this as root, or install sudo"
        sudo "$@"
    fi
}

# install_packages NAME…: installs the Debian packages that are not there yet. The list of packages is fetched only when something is missing.
install_packages() {
    local missing=() package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    note "installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >&2
    # Services that packages bring are not started: nothing here needs them, and a container could not.
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends "${missing[@]}" >&2 </dev/null
}

# write_settings DIRECTORY HOST:PORT: machine settings that make that registry the mirror of docker.io; DIRECTORY is for XDG_CONFIG_HOME.
write_settings() {
    mkdir -p "$1/lapstrake"
    printf '[registries."docker.io"]\nmirrors = ["%s"]\n' "$2" >"$1/lapstrake/config.toml"
}

# seconds_of COMMAND…: runs it, its output to stderr, and prints how many seconds it took.
seconds_of() {
    local from=${EPOCHREALTIME/[.,]/} to
    "$@" >&2 || return $?
    to=${EPOCHREALTIME/[.,]/}
    printf '%d.%03d\n' $(((to - from) / 1000000)) $(((to - from) / 1000 % 1000))
}

# How long anything may take before a test says that it does not happen: long enough for any machine that gets on at all.
patience_seconds=180

# until_so WHAT COMMAND…: runs the command until it succeeds; 1 after a while, and what was waited for is said.
until_so() {
    local what=$1 end=$((SECONDS + patience_seconds))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$end" ]; then
            note "waited for $patience_seconds seconds in vain: $what"
            return 1
        fi
        sleep 0.2
    done
}

# wait_for URL [CURL ARGUMENTS…]: asks until it answers 200; prints the body.
wait_for() {
    local url=$1 body
    shift
    until_so "$url answers" answers_at "$url" "$@" || return 1
    printf '%s\n' "$body"
}

# answers_at URL [CURL ARGUMENTS…]: whether it answers 200; what it answers is in its caller's `body`.
answers_at() {
    local url=$1
    shift
    body=$(curl --fail --silent --show-error --max-time 30 --noproxy '*' "$@" "$url" 2>/dev/null)
}

# free_port: a loopback port that nobody listens on, below those that are given to whoever asks for any.
free_port() {
    python3 -c '
import random, socket
while True:
    port = random.randrange(10000, 30000)
    try:
        socket.socket().bind(("127.0.0.1", port))
        print(port)
        break
    except OSError:
        pass
'
}

# rust_version CHECKOUT: the oldest compiler that builds it.
rust_version() { sed -n '/^rust-version = "\(.*\)"/ { s//\1/p; q; }' "$1/Cargo.toml"; }

# remove_tree PATH: removes what may belong to subordinate ids.
remove_tree() { rm -rf "$1" 2>/dev/null || as_root rm -rf "$1"; }

# podman_here ARGUMENTS…: Podman with its storage in $work/podman, in a way that works without systemd and within a container.
podman_here() {
    as_root podman --root "$work/podman/root" --runroot "$work/podman/run" --tmpdir "$work/podman/tmp" \
        --storage-driver "$(podman_driver)" --runtime runc --cgroup-manager cgroupfs --events-backend file "$@"
}

# The kernel refuses an overlay on an overlay; copies of directories are slow and always work.
podman_driver() {
    case $(stat --file-system --format %T "$work") in
    overlay*) echo vfs ;;
    *) echo overlay ;;
    esac
}

# podman_run ARGUMENTS…: `podman run` on the machine's network, from a registry without TLS.
podman_run() {
    local files
    # Podman's own defaults are above what this process may set where it lacks CAP_SYS_RESOURCE.
    files=$(ulimit -Hn)
    [ "$files" != unlimited ] && [ "$files" -le 20000 ] || files=20000
    podman_here run --network host --tls-verify=false --ulimit "nofile=$files:$files" --ulimit nproc=4096:4096 "$@"
}

# Who the tests are when they are not root.
test_user=lapstrake-test

# Makes the test user with a range of subordinate ids, where it is not there.
ensure_test_user() {
    local file next
    if ! id "$test_user" >/dev/null 2>&1; then
        note "making the user $test_user"
        as_root useradd --create-home --shell /bin/sh "$test_user"
    fi
    for file in /etc/subuid /etc/subgid; do
        if ! grep -q "^$test_user:" "$file" 2>/dev/null; then
            # Behind everybody else's ranges.
            next=$(awk -F: 'BEGIN { next_id = 100000 } $2 + $3 > next_id { next_id = $2 + $3 } END { print next_id }' "$file" 2>/dev/null || echo 100000)
            printf '%s:%s:65536\n' "$test_user" "$next" | as_root tee -a "$file" >/dev/null
        fi
    done
}

# under_another_name COMMAND…: runs one of this file's commands, or a program, on a machine that goes by another name.
under_another_name() {
    local run
    run=$(printf '%q ' "$@")
    as_root unshare --uts bash -c "hostname elsewhere; . '$lib_file'; $run"
}

# as_test_user COMMAND…: runs it as that user, with that user's home and nothing else of ours but what `env` in COMMAND sets.
as_test_user() {
    local home
    home=$(getent passwd "$test_user" | cut -d: -f6)
    as_root setpriv --reuid "$test_user" --regid "$test_user" --init-groups \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$home" USER="$test_user" "$@"
}
