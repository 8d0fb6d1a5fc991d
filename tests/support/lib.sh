# Small things that every script of the tests and examples/quickstart.sh use. Sourced, not run.

# Says what happens, on stderr: stdout is for answers.
note() { printf '==> %s\n' "$*" >&2; }

# Says why it cannot go on.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
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

# wait_for SECONDS URL [CURL ARGUMENTS…]: asks until it answers 200; prints the body.
wait_for() {
    local left=$(($1 * 5)) url=$2 body
    shift 2
    while [ "$left" -gt 0 ]; do
        if body=$(curl --fail --silent --show-error --max-time 5 --noproxy '*' "$@" "$url" 2>/dev/null); then
            printf '%s\n' "$body"
            return 0
        fi
        left=$((left - 1))
        sleep 0.2
    done
    return 1
}

# free_port: a loopback port that nobody listens on. Somebody else may take it before it is used, which the user of it then reports.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
