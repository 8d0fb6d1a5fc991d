#!/usr/bin/env bash
# Installs the Debian packages that the tests need.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/support/lib.sh
. "$here/lib.sh"

command -v apt-get >/dev/null || die "the tests install Debian packages; apt-get is not here"
command -v cargo >/dev/null || die "Rust is missing: install it with rustup (any toolchain from $(rust_version "$here/../..") on)"
install_packages \
    ca-certificates curl debian-archive-keyring gcc git jq libc6-dev openssh-client openssh-server python3 util-linux procps \
    busybox-static mmdebstrap uidmap \
    docker-registry apache2-utils openssl \
    podman runc docker.io containerd iptables buildah skopeo umoci \
    libarchive-tools zip unzip xz-utils zstd \
    e2fsprogs xfsprogs postgresql hyperfine libdeflate-tools
