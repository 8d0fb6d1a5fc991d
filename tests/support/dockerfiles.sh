# The Dockerfile beside each example, which its spec replaces: both make the same images, and so does what it is converted to.
# Sourced by tests/examples.sh.

# The images of an example's spec, each with the target in its Dockerfile.
targets_of() {
    case $1 in
    django-wheels) echo web= ;;
    taskflow-fastapi) echo backend=backend frontend=frontend ;;
    flask-postgres) echo development=development production=production ;;
    flask-celery) echo web=web worker=worker ;;
    fastapi-prod) echo api= ;;
    *) die "no targets are known of $1" ;;
    esac
}

# dockerfile_makes_the_same EXAMPLE: the same files, owners, modes and config, layer boundaries and times aside.
dockerfile_makes_the_same() {
    local example=$1 directory=$work/dockerfiles/$1 log=$work/logs/$1.dockerfile each image target
    mkdir -p "$directory"
    # A Dockerfile keeps the bits of a checkout, whatever the umask was when it was made; a spec brings them to normal form.
    cp -R "examples/$example" "$directory/context"
    find "$directory/context" -type d -exec chmod 755 {} +
    find "$directory/context" -type f -perm -100 -exec chmod 755 {} +
    find "$directory/context" -type f ! -perm -100 -exec chmod 644 {} +
    for each in $(targets_of "$example"); do
        image=${each%%=*}
        target=${each#*=}
        # shellcheck disable=SC2046
        "$LAPSTRAKE" build "$directory/context" --image "$image" --arg "registry=$registry" $(secrets_of "$example") --progress plain \
            -o "oci:$directory/$image.spec" >"$log" 2>&1 || show_and_fail "$log" "$example: $image does not build from its spec"
        # shellcheck disable=SC2046
        "$LAPSTRAKE" build -f "$directory/context/Dockerfile" ${target:+--target "$target"} $(secrets_of "$example") --progress plain \
            -o "oci:$directory/$image.dockerfile" "$directory/context" >"$log" 2>&1 ||
            show_and_fail "$log" "$example: $image does not build from its Dockerfile"
        python3 -B tests/conformance/same.py "$directory/$image.spec" "$directory/$image.dockerfile" >"$log" ||
            show_and_fail "$log" "$example: the spec (-) and the Dockerfile (+) make different images of $image"
        dockerfile_converts "$example" "$image" "$target" --exact
        dockerfile_converts "$example" "$image" "$target"
    done
}

# dockerfile_converts EXAMPLE IMAGE TARGET [--exact]: converted, it makes the image that was built of it: all of it, or the same files and config.
dockerfile_converts() {
    local example=$1 image=$2 target=$3 exact=${4-} directory=$work/dockerfiles/$1 log=$work/logs/$1.dockerfile spec
    spec=$directory/$image$exact.toml
    # shellcheck disable=SC2046
    {
        "$LAPSTRAKE" convert $exact -f "$directory/context/Dockerfile" ${target:+--target "$target"} -o "$spec" "$directory/context" &&
            "$LAPSTRAKE" build -f "$spec" $(secrets_of "$example") --progress plain -o "oci:$directory/$image.converted$exact"
    } >"$log" 2>&1 || show_and_fail "$log" "$example: $image does not build from what its Dockerfile is converted to${exact:+ exactly}"
    python3 -B tests/conformance/same.py $exact "$directory/$image.dockerfile" "$directory/$image.converted$exact" >"$log" ||
        show_and_fail "$log" "$example: the Dockerfile (-) and what it is converted to (+) make different images of $image"
}
