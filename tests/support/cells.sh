# Places where images are built: who builds, and on which file system the store is. Sourced by tests/matrix/*.sh, after lib.sh and engines.sh.
#
#   WHO     root · ranges (an ordinary user with subordinate ids) · alone (one without) ·
#           docker (root inside `docker run` with Docker's defaults) · kubernetes (the same with the securityContext of README.md) · podman (root inside `podman run` with Podman's); what follows a
#           hyphen tells cells apart and means nothing here
#   STORE   disk · overlay (of a container: its own root) · tmpfs
#
# In every place $work/bin/lapstrake is the binary, $work/project can be read, and the cell's directory of `out_of` can be written.

user_alone=lapstrake-it-alone
cell_image=lapstrake-cell

# start_cells NAME: a directory ($work) with all that the cells need.
start_cells() {
    docker_pid=
    # No container takes anything from one.
    registry=127.0.0.1:1
    podman_is_ready=
    disk_is_own=
    work=$(mktemp -d "${TMPDIR:-/tmp}/lapstrake-$1.XXXXXX")
    # Test users go through it.
    chmod 755 "$work"
    mkdir -p "$work/podman" "$work/logs" "$work/bin" "$work/stores"/{disk,overlay,tmpfs} "$work/out" "$work/below"
    if [ -z "${LAPSTRAKE-}" ]; then
        cargo build --locked --bin lapstrake
        LAPSTRAKE=${CARGO_TARGET_DIR:-$top/target}/debug/lapstrake
    fi
    install -m 755 "$LAPSTRAKE" "$work/bin/lapstrake"
    ensure_test_user
    id "$user_alone" >/dev/null 2>&1 || as_root useradd --system --create-home "$user_alone"
    as_root mount -t tmpfs -o mode=755 lapstrake-cells "$work/stores/tmpfs"
    # The kernel takes no overlay as the upper directory of another.
    case $(stat --file-system --format %T "$work") in
    overlay*) above=$work/stores/tmpfs/.overlay ;;
    *) above=$work/overlay ;;
    esac
    as_root mkdir -p "$above/upper" "$above/work"
    as_root mount -t overlay -o "lowerdir=$work/below,upperdir=$above/upper,workdir=$above/work" lapstrake-cells "$work/stores/overlay"
}

# give_cells_a_disk: the store `disk` is ext4 in one file, which is taken away at once. To remove hundreds of thousands of files one by one takes
# minutes where each that goes is reported to the device below.
give_cells_a_disk() {
    truncate --size 64G "$work/disk"
    as_root mkfs.ext4 -q -O ^has_journal -m 0 -F "$work/disk"
    as_root mount -o loop "$work/disk" "$work/stores/disk"
    disk_is_own=yes
}

# stop_cells: takes everything back, as a trap on EXIT.
stop_cells() {
    local code=$?
    trap - EXIT INT TERM
    if [ -n "$podman_is_ready" ]; then
        podman_here rm --all --force --time 2 >/dev/null 2>&1 || true
        podman_here system reset --force >/dev/null 2>&1 || true
    fi
    [ -z "$docker_pid" ] || stop_docker
    as_root umount "$work/stores/overlay" || true
    if [ "$code" != 0 ] && [ -n "${LAPSTRAKE_TEST_KEEP-}" ]; then
        note "everything is left in $work"
    else
        [ -z "$disk_is_own" ] || as_root umount "$work/stores/disk" || true
        as_root umount "$work/stores/tmpfs" || true
        remove_tree "$work"
    fi
    exit "$code"
}

# out_of WHO STORE: a directory of the cell for what is asked for.
out_of() { printf '%s\n' "$work/out/$1-$2"; }

# in_cell WHO STORE COMMAND…: runs it there; not in a subshell, which would forget that an engine runs. A cell keeps its store from call to call.
in_cell() {
    local who=$1 store=$2 cell=$1-$2
    shift 2
    mkdir -p "$(out_of "$who" "$store")"
    chmod 777 "$(out_of "$who" "$store")"
    case $who in
    docker*) in_docker "$cell" "$store" "$@" ;;
    kubernetes*) in_docker "$cell" "$store" "$@" ;;
    podman*) in_podman "$cell" "$store" "$@" ;;
    alone*) on_host "$cell" "$store" "$user_alone" "$@" ;;
    ranges*) on_host "$cell" "$store" "$test_user" "$@" ;;
    root*) on_host "$cell" "$store" root "$@" ;;
    *) die "nobody is called $who" ;;
    esac
}

on_host() {
    local home=$work/stores/$2/$1 user=$3
    shift 3
    as_root install -d -m 700 -o "$user" -g "$(id -g "$user")" "$home"
    as_root setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups \
        env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME="$home" LAPSTRAKE_HOME="$home/store" "$@"
}

# Where a container has its store, as arguments for its engine. What is to be executed and devices must be allowed there.
place_of() {
    local home=$work/stores/disk/$1
    case $2 in
    overlay) ;;
    tmpfs) printf '%s\n' --tmpfs /home:exec,suid,dev,mode=700 ;;
    disk)
        as_root install -d -m 700 "$home"
        printf '%s\n' --volume "$home:/home"
        ;;
    esac
}

# What every container gets: the binary, the project and /out under the names that they have outside.
shared_with() {
    printf '%s\n' --volume "$work/bin:$work/bin:ro" --volume "$work/project:$work/project:ro" --volume "$work/out/$1:$work/out/$1" \
        --env HOME=/home --env LAPSTRAKE_HOME=/home/store
}

start_docker_cells() {
    [ -z "$docker_pid" ] || return 0
    start_docker
    cell_archive | docker_here import - "$cell_image" >/dev/null
}

in_docker() {
    local cell=$1 store=$2 arguments capability
    shift 2
    start_docker_cells
    mapfile -t arguments < <(place_of "$cell" "$store" && shared_with "$cell")
    case $cell in
    kubernetes*)
        # As in README.md's securityContext.
        arguments+=(--cap-drop ALL --security-opt no-new-privileges --read-only --tmpfs /tmp)
        for capability in CHOWN DAC_OVERRIDE FOWNER FSETID MKNOD SETFCAP SETGID SETPCAP SETUID SYS_CHROOT; do
            arguments+=(--cap-add "$capability")
        done
        ;;
    esac
    # Nothing else that a default would not give: the profile and the capabilities are what is tried.
    docker_here run --rm --network host "${arguments[@]}" "$cell_image" "$@"
}

start_podman_cells() {
    [ -z "$podman_is_ready" ] || return 0
    podman_is_ready=yes
    cell_archive | podman_here import --quiet - "$cell_image" >/dev/null
}

in_podman() {
    local cell=$1 store=$2 arguments
    shift 2
    start_podman_cells
    mapfile -t arguments < <(place_of "$cell" "$store" && shared_with "$cell")
    podman_run --rm "${arguments[@]}" "localhost/$cell_image" "$@"
}

# An archive with busybox and the libraries of the binary: all that a container needs.
cell_archive() {
    local root=$work/cell-root library
    if [ ! -d "$root" ]; then
        mkdir -p "$root"/{bin,dev,etc,home,proc,sys,tmp}
        chmod 1777 "$root/tmp"
        cp "$(command -v busybox)" "$root/bin/busybox"
        for library in $(busybox --list); do
            [ -e "$root/bin/$library" ] || ln -s busybox "$root/bin/$library"
        done
        echo 'root:x:0:0:root:/home:/bin/sh' >"$root/etc/passwd"
        # A static program wants none.
        { ldd "$LAPSTRAKE" 2>/dev/null || true; } | { grep -o '/[^ ]*' || true; } | while read -r library; do
            install -D "$library" "$root$library"
        done
    fi
    tar --create --directory "$root" --owner 0 --group 0 .
}
