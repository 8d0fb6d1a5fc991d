#!/usr/bin/env bash
# What other builders make of the cases of tests/suite/dockerfile: Debian's buildah, and Docker's engine with BuildKit. Each does what is
# expected of the case, or otherwise exactly as `BUILDER.differs` beside it says, for the reason that stands there.
#
#   bash tests/conformance/run.sh [CASE…]
#
# Runs as root, or as a user who may use sudo. UPDATE=1 writes the differences, not their reasons.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/support/lib.sh
. "$here/../support/lib.sh"

for program in buildah docker dockerd docker-registry git python3 xz zstd; do
    need "$program" "run tests/run.sh, which installs it"
done
# Builders sync what they unpack; in memory that costs nothing. Deeper down the engine's sockets would have too long names.
place=/dev/shm
[ -w "$place" ] || place=${TMPDIR:-/tmp}
# Containers' tools keep directories of their own where XDG_RUNTIME_DIR says.
as_root env -u XDG_RUNTIME_DIR ${UPDATE+"UPDATE=$UPDATE"} python3 -B "$here/run.py" --work "$place" docker buildah -- "$@"
