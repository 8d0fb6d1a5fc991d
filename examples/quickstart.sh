#!/usr/bin/env bash
# From a fresh Debian or Ubuntu machine with Rust and gcc to a running container:
# builds lapstrake, builds examples/django-wheels with it, pushes the image to a registry on loopback, pulls it back and runs it.
#
#   bash examples/quickstart.sh
#
# Environment: LAPSTRAKE names a binary to use instead of building one; LAPSTRAKE_TEST_CACHE a directory in which the base is kept.
# The checkout stays as it is but for target/. Everything else lives in a temporary directory that goes away at the end.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=tests/support/lib.sh
. "$top/tests/support/lib.sh"

container=lapstrake-quickstart-$$
registry_pid=
work=

clean_up() {
    local code=$?
    trap - EXIT INT TERM
    if [ -n "$work" ]; then
        if [ -d "$work/podman" ]; then
            podman_here rm --force --time 2 "$container" >/dev/null 2>&1 || true
            # Unpacked layers may belong to other ids and have mounts in them; only Podman knows how to remove them.
            podman_here system reset --force >/dev/null 2>&1 || true
        fi
        [ -z "$registry_pid" ] || bash "$top/tests/support/registry.sh" stop "$registry_pid" || true
        remove_tree "$work"
    fi
    [ "$code" = 0 ] || echo "quickstart: failed (exit code $code); the lines above say why" >&2
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ── what must be there ────────────────────────────────────────────────────────────────────────────────────────────────────────────
command -v apt-get >/dev/null || die "this script installs Debian packages; on another system follow its steps by hand"
if [ -z "${LAPSTRAKE-}" ]; then
    command -v cargo >/dev/null || die "Rust is missing: install it with rustup (any toolchain from $(rust_version "$top") on)"
    command -v cc >/dev/null || die "a C compiler is missing: apt-get install gcc libc6-dev"
fi
install_packages ca-certificates curl debian-archive-keyring docker-registry mmdebstrap podman python3 runc skopeo uidmap

work=$(mktemp -d "${TMPDIR:-/tmp}/lapstrake-quickstart.XXXXXX")
chmod 755 "$work"

# ── lapstrake ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
if [ -z "${LAPSTRAKE-}" ]; then
    note "building lapstrake"
    LAPSTRAKE=$(bash "$top/tests/support/release.sh")
fi
export LAPSTRAKE
"$LAPSTRAKE" --version

# Settings and store of its own, so that "first build" means it.
export XDG_CONFIG_HOME=$work/config LAPSTRAKE_HOME=$work/store

# ── a registry, and a base in it ──────────────────────────────────────────────────────────────────────────────────────────────────
note "starting a registry"
read -r port registry_pid < <(bash "$top/tests/support/registry.sh" start "$work/registry")
[ -n "$registry_pid" ] || die "the registry did not start"
write_settings "$XDG_CONFIG_HOME" "127.0.0.1:$port"
note "making a stand-in for docker.io/library/python:3.11-slim-bookworm with lapstrake itself"
bash "$top/tests/support/base.sh" push "127.0.0.1:$port" >&2

# ── build and push ────────────────────────────────────────────────────────────────────────────────────────────────────────────────
cp -R "$top/examples/django-wheels" "$work/django-wheels"
build() { "$LAPSTRAKE" build "$work/django-wheels" --push --arg "registry=127.0.0.1:$port"; }

note "first build: pulls the base, installs packages, compiles psycopg2, makes the wheels, pushes"
first=$(seconds_of build)
note "the same again"
unchanged=$(seconds_of build)
note "one line of one template edited"
sed -i 's|</h1>|, sailor</h1>|' "$work/django-wheels/guestbook/templates/guestbook/guestbook.html"
edited=$(seconds_of build)

# ── pull and run ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────
image=127.0.0.1:$port/lapstrake/django-wheels:1.0
note "skopeo reads what was pushed"
skopeo inspect --tls-verify=false --format '{{.Name}} {{.Digest}}, {{len .Layers}} layers' "docker://$image"

note "podman pulls it and runs it"
mkdir -p "$work/podman"
web=$(free_port)
podman_run --detach --name "$container" --env "PORT=$web" "$image" >/dev/null
if ! page=$(wait_for "http://127.0.0.1:$web/"); then
    podman_here logs "$container" >&2 || true
    die "the container does not answer"
fi
case $page in
*"Welcome aboard, sailor"*) ;;
*) die "the page is not the one that was built: $page" ;;
esac
printf '\nGET http://127.0.0.1:%s/healthz → HTTP %s: %s\n' "$web" \
    "$(curl --silent --noproxy '*' --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:$web/healthz")" \
    "$(curl --silent --noproxy '*' "http://127.0.0.1:$web/healthz")"

cat <<TIMES

Build and push of examples/django-wheels, in seconds:

    first build     $first
    unchanged       $unchanged
    one line edited $edited
TIMES
