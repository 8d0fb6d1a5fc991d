#!/usr/bin/env bash
# `su` and `sudo` of a distribution in steps, for everybody who builds: one digest, and where there is no `sudo` for those who are not
# root, it says why.
#
#   bash tests/matrix/users.sh [WHO…]      all without an argument
#
# Environment as for run.sh beside it. Wants Debian's archive, for a base that is made once and for sudo.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top"
# shellcheck source=tests/support/lib.sh
. tests/support/lib.sh
# shellcheck source=tests/support/engines.sh
. tests/support/engines.sh
# shellcheck source=tests/support/cells.sh
. tests/support/cells.sh

# WHO            the rung     whether programs become their owner     arguments of the build
people='
root             userns       yes
root-single-id   single-id    yes    --isolation single-id
root-chroot      chroot       yes    --isolation chroot
ranges           userns       yes
alone            single-id    yes
docker           chroot       no
'

start_cells users
trap stop_cells EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A small Debian with sudo, as a file.
project=$work/project
mkdir -p "$work/making" "$project"
cp "$(bash tests/support/base.sh tar)" "$work/making/base.tar"
cat >"$work/making/lapstrake.toml" <<'SPEC'
spec = 1

[stages.base]
from = "tar:base.tar"

[[stages.base.steps]]
run = "apt-get update && apt-get install -y --no-install-recommends sudo"
network = true

[[stages.base.steps]]
run = "rm -rf /usr/share/* /usr/include /usr/lib/python3* /usr/local/lib/* /var/lib/apt /var/cache/* /var/lib/dpkg/info /var/log/*"

[images.base]
stage = "base"
SPEC
log=$work/logs/making
in_cell root disk "$work/bin/lapstrake" build "$work/making" --output "rootfs-tar:$project/base.tar" >"$log" 2>&1 </dev/null ||
    show_and_fail "$log" "there is no base with sudo"
rm -rf "$work/making"
cat >"$project/lapstrake.toml" <<'SPEC'
spec = 1

[stages.root]
from = "tar:base.tar"

[[stages.root.steps]]
run = '''
useradd --create-home --shell /bin/sh alice
useradd --create-home --shell /bin/sh bob
echo 'alice ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/alice
chmod 440 /etc/sudoers.d/alice
rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid-
sed -i 's/^\(alice\|bob\):\([^:]*\):[0-9]*/\1:\2:1/' /etc/shadow
'''
discard = ["/var/log/**"]

[[stages.root.steps]]
run = '''
exec > /said 2>&1
su alice -c 'id; touch /tmp/su; touch /etc/no || id -un'
su - bob -c 'id; pwd; touch own'
sudo -u bob -g alice -- sh -c 'id; touch /tmp/by-root'
stat -c '%n %u %g %a' /tmp/* /home/bob/own
'''
discard = ["/var/log/**", "/run/**"]

[stages.alice]
from = "stage:root"
user = "alice"

[[stages.alice.steps]]
run = '''
exec > /tmp/said
id
# What sudo says when it may not become root is what is looked for.
sudo -n id
sudo -n -u bob id
sudo -n sh -c 'chown bob: /tmp/su; touch /etc/by-sudo; id -un'
if su bob -c id < /dev/null; then exit 1; fi
stat -c '%n %u %g %a' /tmp/* /etc/by-sudo
'''
discard = ["/var/log/**", "/run/**"]

[images.root]
stage = "root"

[images.alice]
stage = "alice"
SPEC
as_root chmod -R a+rX "$project"

wanted=("$@")
# is_wanted WHO
is_wanted() {
    local one
    [ ${#wanted[@]} -gt 0 ] || return 0
    for one in "${wanted[@]}"; do
        [ "$one" != "$1" ] || return 0
    done
    return 1
}

# build_cell WHO IMAGE RUNG [ARGUMENTS…]: sets the image's digest.
build_cell() {
    local who=$1 image=$2 rung=$3 log=$work/logs/$1-$2 metadata found
    shift 3
    metadata=$(out_of "$who" disk)/$image.json
    in_cell "$who" disk "$work/bin/lapstrake" build "$project" --image "$image" --created 1700000000 --progress plain \
        --metadata-file "$metadata" "$@" >"$log" 2>&1 || return 1
    found=$(jq -r '[.stages[].steps[].rung | values] | unique | join(" ")' "$metadata")
    [ "$found" = "$rung" ] || show_and_fail "$log" "$who: steps ran on «$found», not on «$rung»"
    digest=$(jq -r '.images[].digest' "$metadata")
}

declare -A expected=()
count=0
while read -r who rung become arguments; do
    [ -n "$who" ] || continue
    is_wanted "$who" || continue
    count=$((count + 1))
    for image in root alice; do
        if [ "$image-$become" = alice-no ]; then
            ! build_cell "$who" "$image" "$rung" </dev/null || fail "$who: sudo works for others than root, and SECURITY.md says that it does not"
            grep -q 'no new privileges' "$work/logs/$who-$image" || show_and_fail "$work/logs/$who-$image" "$who: sudo does not say what is missing"
            continue
        fi
        # shellcheck disable=SC2086
        build_cell "$who" "$image" "$rung" $arguments </dev/null || show_and_fail "$work/logs/$who-$image" "$who: $image does not build"
        note "$who: $image, $rung, $digest"
        : "${expected[$image]:=$digest}"
        [ "$digest" = "${expected[$image]}" ] || fail "$who: $image has another digest than for those before"
    done
done <<<"$people"
[ "$count" -gt 0 ] || fail "there is nobody like that: ${wanted[*]}"
note "users: su and sudo, one digest for $count"
