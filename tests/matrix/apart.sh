#!/usr/bin/env bash
# What is kept apart where there are no namespaces, and what not: root inside `docker run` with Docker's defaults. And that packages are
# installed there as elsewhere.
#
#   bash tests/matrix/apart.sh [canary | killed | packages]…      all without an argument
#
# Environment as for run.sh beside it; UPDATE=1 writes canary.txt anew, of which SECURITY.md speaks.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top"
# shellcheck source=tests/support/lib.sh
. tests/support/lib.sh
# shellcheck source=tests/support/engines.sh
. tests/support/engines.sh
# shellcheck source=tests/support/cells.sh
. tests/support/cells.sh

start_cells apart
trap stop_cells EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

project=$work/project
mkdir -p "$project"

# The project's spec, from standard input.
write_spec() {
    cp "$(command -v busybox)" "$project/busybox"
    cat >"$project/lapstrake.toml"
    chmod -R a+rX "$project"
}

# A step reaches of what was planted outside what the table says, call by call.
canary() {
    local out name log=$work/logs/canary
    # The container has the machine's network, on which such a name is everybody's.
    name=lapstrake-canary-$$-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')
    rustc --edition 2024 -C target-feature=+crt-static -C opt-level=s -C strip=symbols -o "$project/canary" tests/matrix/canary.rs
    write_spec <<'SPEC'
spec = 1

[args]
outside = { help = "a process outside" }
name = { help = "what its socket is called" }

[stages.app]
from = "scratch"

[[stages.app.steps]]
copy = "busybox"
to = "/bin/sh"
mode = "0755"

[[stages.app.steps]]
copy = "canary"
to = "/canary"
mode = "0755"

[[stages.app.steps]]
run = "/canary try ${args.outside} ${args.name} > /seen"

[images.app]
stage = "app"
SPEC
    out=$(out_of docker disk)
    # The builder runs in the container beside what is planted, as the same user.
    in_cell docker disk /bin/sh -ec '
        export PATH=/bin CANARY=outside
        echo outside > /outside
        "$2/canary" stay "$4" > /tmp/pid &
        while [ ! -s /tmp/pid ]; do kill -0 $! || exit 1; sleep 0.1; done
        "$1" build "$2" --arg "outside=$(cat /tmp/pid)" --arg "name=$4" --metadata-file "$3/canary.json" --output "rootfs-tar:$3/canary.tar"
        kill -0 "$(cat /tmp/pid)"
    ' sh "$work/bin/lapstrake" "$project" "$out" "$name" >"$log" 2>&1 </dev/null || show_and_fail "$log" "the canary's spec does not build"
    [ "$(jq -r '[.stages[].steps[].rung | values] | unique | join(" ")' "$out/canary.json")" = chroot ] || fail "the canary ran elsewhere"
    tar --extract --to-stdout --file "$out/canary.tar" seen >"$work/seen" 2>/dev/null || tar --extract --to-stdout --file "$out/canary.tar" ./seen >"$work/seen"
    [ -z "${UPDATE-}" ] || cp "$work/seen" tests/matrix/canary.txt
    cp tests/matrix/canary.txt "$work/expected"
    # What SECURITY.md concedes on older kernels.
    if [ "$("$project/canary" scopes)" = no ]; then
        sed --in-place 's/^\(signal a process outside\|connect to its abstract socket\): 1$/\1: done/' "$work/expected"
    fi
    diff "$work/expected" "$work/seen" >&2 || fail "a step without namespaces reaches something else than tests/matrix/canary.txt says"
}

# is_kept TEXT DIRECTORY: whether a file of it has the text.
is_kept() { as_root grep -rqF "$1" "$2" 2>/dev/null; }

# A container that is killed with all that is in it leaves a secret in the store, which the next build there takes away.
killed() {
    local store=$work/stores/disk/docker-killed-disk log=$work/logs/killed arguments attempt is_there
    write_spec <<'SPEC'
spec = 1

[stages.app]
from = "scratch"

[[stages.app.steps]]
copy = "busybox"
to = "/bin/busybox"
mode = "0755"

[[stages.app.steps]]
run = ["/bin/busybox", "sleep", "1000"]
mounts = [{ secret = "token", at = "/run/secrets/token" }]

[images.app]
stage = "app"
SPEC
    secret=canary-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    mkdir -p "$work/out/docker-killed-disk" "$work/secret"
    printf '%s' "$secret" >"$work/secret/token"
    mapfile -t arguments < <(place_of docker-killed-disk disk && shared_with docker-killed-disk)
    # Whoever keeps the step sees its end before he is killed himself, and now and then is quick enough to take the secret away.
    for attempt in 1 2 3 4 5; do
        docker_here run --detach --name "killed-$attempt" --network host "${arguments[@]}" --volume "$work/secret:/secret:ro" "$cell_image" \
            "$work/bin/lapstrake" build "$project" --secret id=token,src=/secret/token >"$log" 2>&1 </dev/null ||
            show_and_fail "$log" "Docker does not start a container"
        until_so "the secret is where the step uses it" is_kept "$secret" "$store" && is_there=yes || is_there=no
        docker_here logs "killed-$attempt" >"$log" 2>&1
        [ "$is_there" = yes ] || show_and_fail "$log" "no file has the secret while a step uses it"
        docker_here kill "killed-$attempt" >/dev/null 2>&1 || show_and_fail "$log" "the container ended by itself"
        docker_here wait "killed-$attempt" >/dev/null
        ! is_kept "$secret" "$store" || break
    done
    is_kept "$secret" "$store" || fail "the secret is in no file after a container was killed, so that nothing is shown"
    sed -i 's/"sleep", "1000"/"true"/; /^mounts/d' "$project/lapstrake.toml"
    in_cell docker-killed disk "$work/bin/lapstrake" build "$project" >"$log" 2>&1 </dev/null || show_and_fail "$log" "nothing can be built there again"
    ! as_root grep -rF "$secret" "$store" >&2 || fail "the secret of a killed container is still there after the next build"
}

# Debian's package manager, which changes users, owners and modes; the same layer as with namespaces.
packages() {
    local who log
    write_spec <<'SPEC'
spec = 1

[stages.base]
from = "tar:base.tar"

[[stages.base.steps]]
run = "apt-get update && apt-get install -y gettext"
network = true
discard = ["/var/log/**", "/var/cache/**", "/var/lib/apt/**"]

[images.base]
stage = "base"
SPEC
    cp "$(bash tests/support/base.sh tar)" "$project/base.tar"
    chmod 644 "$project/base.tar"
    for who in root docker-packages; do
        log=$work/logs/packages-$who
        in_cell "$who" disk "$work/bin/lapstrake" build "$project" --created 1700000000 --progress plain \
            --metadata-file "$(out_of "$who" disk)/packages.json" >"$log" 2>&1 </dev/null || show_and_fail "$log" "$who: packages are not installed"
        note "$who: packages are installed, $(jq -r '.images[].digest' "$(out_of "$who" disk)/packages.json")"
    done
    diff <(jq .images "$(out_of root disk)/packages.json") <(jq .images "$(out_of docker-packages disk)/packages.json") >&2 ||
        fail "packages are another layer without namespaces"
}

wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(canary killed packages)
start_docker_cells
for part in "${wanted[@]}"; do
    note "apart: $part"
    case $part in
    canary | killed | packages) "$part" ;;
    *) fail "no part is called $part" ;;
    esac
done
note "apart: ${wanted[*]} passed"
