# What else is built of an example: edited, with other arguments, without its secret. Sourced by tests/examples.sh, after answers.sh.

builds_otherwise() {
    case $1 in
    django-wheels)
        source_edit_runs django-wheels guestbook/views.py '# An edit.' 'app: copy . → /app/'
        takes_other_arguments
        ;;
    taskflow-fastapi) source_edit_runs taskflow-fastapi backend/taskflow/main.py '# An edit.' 'backend: copy backend/taskflow/ → /srv/taskflow/taskflow/' ;;
    fastapi-prod) needs_its_secret ;;
    esac
}

# source_edit_runs EXAMPLE FILE LINE STEP: a line more in a source runs that step alone.
source_edit_runs() {
    local example=$1 file=$2 line=$3 step=$4 copy=$work/edited/$1
    mkdir -p "$copy"
    cp -R "examples/$example/." "$copy/"
    printf '%s\n' "$line" >>"$copy/$file"
    build "$example" "$copy" "$work/$example.edited.json" >"$work/logs/$example.edited" 2>&1 ||
        show_and_fail "$work/logs/$example.edited" "$example does not build when it is edited"
    expect "$example: what an edit of $file runs" "$step" "$(ran_of "$work/$example.edited.json")"
    ! diff <(digests_of "$work/$example.json") <(digests_of "$work/$example.edited.json") >/dev/null || fail "$example: an edit changed nothing"
}

# The other value of the argument: other requirements, other settings, same layers below.
takes_other_arguments() {
    local at name=django
    at=http://127.0.0.1:$(free_port)
    "$LAPSTRAKE" build examples/django-wheels --arg "registry=$registry/local" --arg environment=local --arg app_dir=/srv/guestbook \
        --push --progress plain >"$work/logs/local" 2>&1 || show_and_fail "$work/logs/local" "django-wheels does not build with environment=local"
    start_container $name "$registry/local/lapstrake/django-wheels:1.0" "PORT=${at##*:}"
    expect_in "the local page" "Welcome aboard" "$(answer $name "$at/")"
    expect "the local application's directory" /srv/guestbook "$(podman_here exec $name pwd)"
    stop_container $name
}

# Without its secret it does not build, and says which is missing.
needs_its_secret() {
    if "$LAPSTRAKE" build examples/fastapi-prod --arg "registry=$registry" --no-cache --progress plain >"$work/logs/without" 2>&1; then
        fail "fastapi-prod builds without its secret"
    fi
    expect_in "the message without a secret" signing-key "$(cat "$work/logs/without")"
}
