#!/usr/bin/env bash
# The sandbox on another kernel than this machine's: Debian's, in an emulated machine. It is older (before Linux 6.6 a tmpfs has no
# attributes that an overlay could use, before 6.7 overlays are mounted in the older way), and its control groups are version 2.
#
#   bash tests/kernel/run.sh
#
# The machine's root is this one's, read-only, with a tmpfs over it; temporary directories are on an ext4 of its own. Nothing is changed here, and no network
# is there. Emulated without help of the processor it is about ten times slower, so that only what depends on the kernel is tried.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top"
# shellcheck source=tests/support/lib.sh
. tests/support/lib.sh

[ "$(uname -m)" = x86_64 ] || die "the emulated machine is an x86_64"
install_packages qemu-system-x86 kmod cpio busybox-static e2fsprogs jq
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The kernel that Debian gives now, unpacked.
fetch_kernel() {
    local package
    package=$(apt-cache depends linux-image-amd64 | sed -n 's/^  Depends: //p' | head -n 1)
    [ -n "$package" ] || die "there is no package linux-image-amd64"
    kernel=$(test_cache)/$package
    [ ! -d "$kernel" ] || return 0
    note "fetching $package"
    mkdir -p "$work/fetched" "$(test_cache)"
    (cd "$work/fetched" && apt-get download -q "$package" >&2)
    dpkg-deb --extract "$work"/fetched/*.deb "$work/kernel"
    depmod --basedir "$work/kernel" "$(basename "$work"/kernel/lib/modules/*)"
    mv "$work/kernel" "$kernel"
}

# What the emulated machine starts with: a shell, the modules that reach this machine's files, and tests/kernel/init.
make_initial_system() {
    local version module number=100 system=$work/system
    version=$(basename "$kernel"/lib/modules/*)
    mkdir -p "$system"/{bin,modules,proc,sys,dev,below,over,root}
    cp "$(command -v busybox)" "$system/bin/busybox"
    cp tests/kernel/init "$system/init"
    chmod 755 "$system/init"
    for module in virtio_pci virtio_blk ext4 9pnet_virtio 9p overlay; do
        modprobe --dirname "$kernel" --set-version "$version" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
        cp "$module" "$system/modules/$number-$(basename "$module")"
        number=$((number + 1))
    done
    (cd "$system" && find . | cpio --quiet --create --format newc | gzip -1) >"$work/system.gz"
}

# in_machine SECONDS: runs $work/task there as root, with this machine's PATH; its output is ours, its code is the answer.
in_machine() {
    truncate --size 4G "$work/disk"
    mkfs.ext4 -q -F -E lazy_itable_init=1 "$work/disk"
    timeout "$1" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 6144 -nodefaults -nographic -no-reboot -serial stdio \
        -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/system.gz" -append "console=ttyS0 quiet loglevel=3 panic=-1 task=$work/task" \
        -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=root,mount_tag=root \
        -drive "file=$work/disk,if=virtio,format=raw,cache=unsafe" </dev/null | tr -d '\r' | tee "$work/output"
    [ "$(sed -n 's/^the task ended with //p' "$work/output")" = 0 ]
}

# executable NAME: the tests of that name, compiled.
executable() {
    cargo test --locked --test "$1" --no-run --message-format json 2>/dev/null |
        jq -r "select(.reason == \"compiler-artifact\" and .target.name == \"$1\" and .executable) | .executable"
}

fetch_kernel
make_initial_system
cargo test --locked --test sandbox --test it --no-run
rustc --edition 2024 -C target-feature=+crt-static -C panic=abort -o "$work/call" tests/sandbox/programs/call.rs
chmod 755 "$work" "$work/call"
ensure_test_user
cat >"$work/task" <<TASK
set -e
cd $(printf %q "$top")
uname -sr
# What makes this kernel another one.
[ "\$(printf '%s\n' 6.6 "\$(uname -r)" | sort --version-sort | head -n 1)" != 6.6 ]
[ "\$($(dirname "$(executable it)")/../lapstrake doctor | grep -c 'works: control groups, version 2')" = 3 ]
export LAPSTRAKE_TEST_CALL=$work/call
$(executable sandbox) --test-threads 2
$(executable it) --test-threads 2 limits golden
TASK
note "tests of the sandbox on $(basename "$kernel"), with control groups of version 2"
in_machine 2400 || die "not all is as it should be on that kernel (see above)"
