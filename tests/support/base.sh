#!/usr/bin/env bash
# In: Debian's archive and the lapstrake binary named by $LAPSTRAKE. Out: an image that stands in for
# docker.io/library/python:3.11-slim-bookworm.
#
#   base.sh tar                  makes base.tar where it is missing; prints its path
#   base.sh push HOST:PORT       makes base.tar, turns it into an image with lapstrake itself and pushes it to that registry
#                                as library/python:3.11-slim-bookworm
#
# base.tar is kept in $LAPSTRAKE_TEST_CACHE (default: lapstrake-tests in the user's cache directory), never in the checkout.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/support/lib.sh
. "$here/lib.sh"

# Part of the file's name: another recipe is another file.
revision=2
suite=bookworm
# The time of every file in the archive that would otherwise be newer.
epoch=1735689600

cache=$(test_cache)
base="$cache/python-3.11-slim-$suite.$revision.tar"

make_tar() {
    local work
    need mmdebstrap "apt-get install mmdebstrap"
    mkdir -p "$cache"
    # Two callers at once make it once.
    exec 8>"$cache/base.lock"
    flock 8
    if [ -s "$base" ]; then
        exec 8>&-
        return 0
    fi
    note "making the base with mmdebstrap (once; about a minute)"
    work=$(mktemp -d "$cache/making.XXXXXX")
    cat >"$work/hook" <<'HOOK'
#!/bin/sh
set -eu
root=$1
# As in the image that this one stands in for: `python`, and a pip that may install.
ln -sf python3 "$root/usr/bin/python"
rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
# The headers of Python, with which packages compile extensions; not the rest of that package, nor what it depends on.
chroot "$root" sh -ec '
    mkdir /tmp/headers
    cd /tmp/headers
    apt-get download -q libpython3.11-dev
    dpkg-deb --extract ./*.deb .
    cp -R usr/include/. /usr/include/
    rm -rf /tmp/headers
'
# Certificates that this machine was told to trust (a proxy that looks into TLS) are needed inside as well.
for certificate in /usr/local/share/ca-certificates/*.crt; do
    [ -f "$certificate" ] || continue
    cp "$certificate" "$root/usr/local/share/ca-certificates/"
done
chroot "$root" update-ca-certificates >/dev/null 2>&1
# Nothing of this machine or of this hour stays.
: >"$root/etc/resolv.conf"
rm -f "$root/etc/machine-id" "$root/var/lib/dbus/machine-id" "$root/etc/hostname" "$root/var/cache/ldconfig/aux-cache"
rm -f "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/etc/*-
find "$root/var/log" -type f -delete
HOOK
    chmod 755 "$work/hook"
    # The variables are emptied so that the caller's pip and Python settings reach no package's script.
    if ! env -u PIP_FIND_LINKS -u PIP_CERT -u PYTHONPATH SOURCE_DATE_EPOCH=$epoch \
        mmdebstrap --quiet --variant=minbase \
        --include=python3,python3-pip,python3-venv,ca-certificates \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="$work/hook" --skip=output/dev \
        "$suite" "$work/base.tar" >"$work/log" 2>&1; then
        cat "$work/log" >&2
        die "mmdebstrap failed; its log is above"
    fi
    # Device nodes were left out, as images have none: an ordinary user could not make them. The directory is wanted all the same.
    mkdir "$work/dev"
    tar --append --file "$work/base.tar" --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=0755 --mtime="@$epoch" ./dev
    mv "$work/base.tar" "$base"
    rm -rf "$work"
    exec 8>&-
}

push_image() {
    local target=$1
    : "${LAPSTRAKE:?names the lapstrake binary}"
    # Beside the archive, since paths in a spec are relative to it.
    spec=$(mktemp -d "$cache/spec.XXXXXX")
    # Not local: the trap runs when this function has ended.
    trap 'rm -rf "$spec"' EXIT
    ln "$base" "$spec/base.tar" 2>/dev/null || cp "$base" "$spec/base.tar"
    cat >"$spec/lapstrake.toml" <<SPEC
spec = 1

[stages.base]
from = "tar:base.tar"

[images.python]
stage = "base"
tags = ["$target/library/python:3.11-slim-bookworm"]
env = { PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", LANG = "C.UTF-8", PYTHON_VERSION = "3.11" }
cmd = ["python3"]
SPEC
    "$LAPSTRAKE" build "$spec" --push
}

case "${1-} $#" in
"tar 1")
    make_tar
    printf '%s\n' "$base"
    ;;
"push 2")
    make_tar
    push_image "$2"
    ;;
*) die "usage: base.sh tar | base.sh push HOST:PORT" ;;
esac
