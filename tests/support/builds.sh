# Building the examples, and what must be so about what was built. Sourced by tests/examples.sh and tests/matrix/examples.sh.

# build EXAMPLE DIRECTORY METADATA [ARGUMENTS…]: as the user who runs the tests.
build() {
    local example=$1 directory=$2 metadata=$3
    shift 3
    "$LAPSTRAKE" build "$directory" --arg "registry=$registry" --metadata-file "$metadata" \
        --progress plain $(secrets_of "$example") "$@"
}

secrets_of() {
    case $1 in
    fastapi-prod) echo "--secret id=signing-key,src=$signing_key" ;;
    esac
}

# Each image with its digest and those of its layers: what must be the same.
digests_of() { jq -r '.images[] | .name, "  " + .digest, "    " + .layers[].diff_id' "$1"; }

# The steps that ran, which were not answered by the cache.
ran_of() { jq -r '.stages[] | .name as $stage | .steps[] | select(.cached | not) | $stage + ": " + .label' "$1"; }

# Builds in the checkout as whoever we are, and again in a copy elsewhere as an ordinary user with another umask, time zone,
# language, host name, number of threads and modification times: without the first one's cache the digests are the same.
# In between: an unchanged build runs nothing and changes nothing.
builds_twice_the_same() {
    local example=$1 copy=$work/elsewhere/$1 home log=$work/logs/$1 watcher
    watch_processes &
    watcher=$!
    build "$example" "examples/$example" "$work/$example.json" --push >"$log.first" 2>&1 || show_and_fail "$log.first" "$example does not build"
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    [ ! -s "$work/seen" ] || show_and_fail "$work/seen" "$example: the secret is in a process list"
    build "$example" "examples/$example" "$work/$example.again.json" --push >"$log.again" 2>&1 || show_and_fail "$log.again" "$example does not build again"
    diff <(digests_of "$work/$example.json") <(digests_of "$work/$example.again.json") >&2 || fail "$example: an unchanged build gave another image"
    expect "$example: what an unchanged build runs" "" "$(ran_of "$work/$example.again.json")"

    mkdir -p "$copy"
    cp -R "examples/$example/." "$copy/"
    find "$copy" -type f ! -perm /111 -exec chmod 600 {} +
    find "$copy" -type d -exec chmod 700 {} +
    find "$copy" -exec touch --date=2001-02-03 {} +
    build "$example" "$copy" "$work/$example.copy.json" >"$log.copy" 2>&1 || show_and_fail "$log.copy" "$example does not build from a copy"
    expect "$example: what a build of a copy with other modes and times runs" "" "$(ran_of "$work/$example.copy.json")"
    diff <(digests_of "$work/$example.json") <(digests_of "$work/$example.copy.json") >&2 || fail "$example: a copy gave another image"
    home=$work/home
    mkdir -p "$home/config" "$home/out"
    cp -R "$XDG_CONFIG_HOME/lapstrake" "$home/config/"
    # Not the store, in which files belong to many.
    as_root chown -R "$test_user:" "$copy" "$home/config" "$home/out"
    as_root chown "$test_user:" "$home"
    # shellcheck disable=SC2046
    under_another_name as_test_user TZ=Asia/Kathmandu LANG=C LC_ALL=C XDG_CONFIG_HOME="$home/config" LAPSTRAKE_HOME="$home/store" \
        sh -c 'umask 077; exec "$@"' sh \
        "$LAPSTRAKE" build "$copy" --arg "registry=$registry/elsewhere" --metadata-file "$home/out/$example.json" --jobs 1 \
        --progress plain $(secrets_of "$example") >"$log.elsewhere" 2>&1 || show_and_fail "$log.elsewhere" "$example does not build for an ordinary user"
    diff <(digests_of "$work/$example.json") <(digests_of "$home/out/$example.json") >&2 ||
        fail "$example: an ordinary user elsewhere got other digests"
}

# Looks for the secret in the arguments and environments of all processes until it is ended, or what it writes into is gone.
watch_processes() {
    while [ -d "$work" ]; do
        as_root grep -laF -f "$work/patterns" /proc/[0-9]*/cmdline /proc/[0-9]*/environ >>"$work/seen" 2>/dev/null || true
        sleep 0.05
    done
}

# The tags of an example's images.
tags_of() { jq -r '.images[].tags[]' "$work/$1.json"; }

# skopeo copies each image, umoci unpacks it.
is_read_by_other_tools() {
    local example=$1 tag directory
    for tag in $(tags_of "$example"); do
        directory=$work/oci/${tag##*/}
        mkdir -p "${directory%/*}"
        skopeo copy --quiet --src-tls-verify=false "docker://$tag" "oci:$directory:tag" || fail "skopeo does not copy $tag"
        umoci unpack --rootless --image "$directory:tag" "$directory.bundle" >"$work/logs/umoci" 2>&1 ||
            show_and_fail "$work/logs/umoci" "umoci does not unpack $tag"
        [ -x "$directory.bundle/rootfs/usr/bin/python3" ] || fail "$tag: umoci's bundle has no python3"
        # What is only there while it builds is in no layer.
        for path in root/.cache wheels run/secrets build src; do
            [ ! -e "$directory.bundle/rootfs/$path" ] || fail "$tag: /$path is in the image"
        done
        rm -rf "$directory" "$directory.bundle"
    done
}

# holds FILE…: whether one of the files, unpacked where it is packed, holds the secret, plain or in base64.
holds() {
    local file found=1
    for file in "$@"; do
        # All of it is read: a pipe that is closed early would be a failure of the pipeline, and the secret not found.
        if unpacked "$file" | grep -aF -f "$work/patterns" >/dev/null; then
            printf 'the secret is in %s\n' "$file" >&2
            found=0
        fi
    done
    return $found
}

unpacked() {
    case $(od -An -N4 -tx1 "$1" | tr -d ' ') in
    1f8b*) gzip -dc "$1" 2>/dev/null ;;
    28b52ffd) zstd -dc "$1" 2>/dev/null ;;
    *) cat "$1" ;;
    esac
}

# make_signing_key FILE: a secret, made anew each time, so that it is found where it is and nowhere else by accident.
make_signing_key() {
    signing_key=$1
    canary=canary-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    printf '%s' "$canary" >"$signing_key"
    chmod 644 "$signing_key"
    # What is searched for: it, its base64 in each of the three phases without the ends that depend on what stands beside it, its digits.
    {
        printf '%s\n' "$canary"
        printf '%s' "$canary" | base64 -w0 | cut -c 5-40
        printf 'a%s' "$canary" | base64 -w0 | cut -c 5-40
        printf 'ab%s' "$canary" | base64 -w0 | cut -c 5-40
        printf '%s' "$canary" | od -An -v -tx1 | tr -d ' \n'
        echo
    } >"$work/patterns"
    : >"$work/seen"
}

secret_is_nowhere() {
    local probe=$work/probe files
    # The search finds it where it is.
    mkdir -p "$probe"
    printf 'x%sx' "$canary" >"$probe/plain"
    gzip -c "$probe/plain" >"$probe/gzip"
    zstd -q -c "$probe/plain" >"$probe/zstd"
    printf 'abc%s' "$canary" | base64 -w0 >"$probe/base64"
    for files in plain gzip zstd base64; do
        holds "$probe/$files" 2>/dev/null || fail "the search for the secret would not find it ($files)"
    done
    rm -rf "$probe"

    # Registry, both stores, metadata and logs: everything there is but the key itself and the patterns.
    as_root chown -R "$(id -u)" "$work/home"
    chmod -R u+rX "$work/home"
    if grep -rlaF -f "$work/patterns" "$work/registry" "$work/logs" "$LAPSTRAKE_HOME" "$work/home" "$XDG_CONFIG_HOME" "$work"/*.json; then
        fail "the secret is in the files above"
    fi
    # What is packed, once more as what it holds.
    mapfile -d '' -t files < <(find "$work/registry" "$LAPSTRAKE_HOME" "$work/home" -path '*/blobs/*' -type f -size +0 -print0)
    [ "${#files[@]}" -gt 20 ] || fail "there are only ${#files[@]} blobs to search"
    if holds "${files[@]}"; then
        fail "the secret is in the blobs above"
    fi
}
