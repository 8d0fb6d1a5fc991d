# What each example answers when it runs. Sourced by tests/examples.sh and tests/matrix/examples.sh, which say in `built` in which
# directory the metadata of the builds is.

tag_of() { jq -r --arg image "$2" '.images[] | select(.name == $image) | .tags[0]' "$built/$1.json"; }

answers_django_wheels() {
    local image at page token css name=django
    image=$(tag_of django-wheels web)
    at=http://127.0.0.1:$(free_port)
    start_container $name "$image" "PORT=${at##*:}"
    page=$(answer $name "$at/" --cookie-jar "$work/cookies")
    expect_in "the page" "Welcome aboard" "$page"
    expect_in "the page in German" "Willkommen an Bord" "$(answer $name "$at/" --header 'Accept-Language: de')"
    css=$(sed -n 's/.*href="\([^"]*\.css\)".*/\1/p' <<<"$page")
    [[ $css =~ ^/static/guestbook/style\.[0-9a-f]{12}\.css$ ]] || fail "the style sheet is not named by its contents: $css"
    expect_in "the style sheet" "font-family" "$(answer $name "$at$css" --compressed)"
    token=$(awk '$6 == "csrftoken" { print $7 }' "$work/cookies")
    curl --fail --silent --noproxy '*' --output /dev/null --cookie "$work/cookies" --header "X-CSRFToken: $token" \
        --data 'author=Ada&text=Fair winds' "$at/" || fail "the guest book takes no entry"
    expect_in "the page after an entry" "Fair winds" "$(answer $name "$at/")"
    expect "health" '{"status":"ok","database":"sqlite","entries":1}' "$(answer $name "$at/healthz" | jq -c .)"
    expect "who runs it" 1000 "$(podman_here exec $name id -u)"
    # Neither compilers nor libpq's headers nor wheels are in what runs.
    for path in /usr/bin/gcc /usr/bin/msgfmt /usr/include/postgresql /wheels /src; do
        ! podman_here exec $name test -e "$path" || fail "$path is in the image"
    done
    stop_container $name

    # Compiled against libpq in one stage, linked with libpq in the other.
    local database
    database=$(free_port)
    start_postgres "$database"
    start_container $name "$image" "PORT=${at##*:}" POSTGRES_HOST=127.0.0.1 "POSTGRES_PORT=$database" POSTGRES_DB=tester POSTGRES_USER=tester 'POSTGRES_PASSWORD=pass word'
    expect "health with PostgreSQL" '{"status":"ok","database":"postgresql","entries":0}' "$(answer $name "$at/healthz" | jq -c .)"
    stop_container $name
    stop_postgres

    start_docker
    docker_here run --detach --name $name --network host --env "PORT=${at##*:}" "$image" >"$work/logs/docker" 2>&1 ||
        show_and_fail "$work/logs/docker" "docker does not run $image"
    if ! page=$(wait_for "$at/"); then
        docker_here logs $name >&2
        fail "docker: $name does not answer"
    fi
    expect_in "the page from Docker's container" "Welcome aboard" "$page"
    docker_here rm --force $name >/dev/null
}

answers_taskflow_fastapi() {
    local backend frontend task at
    backend=http://127.0.0.1:$(free_port)
    frontend=http://127.0.0.1:$(free_port)
    start_container backend "$(tag_of taskflow-fastapi backend)" "UVICORN_PORT=${backend##*:}"
    start_container frontend "$(tag_of taskflow-fastapi frontend)" "PORT=${frontend##*:}" "BACKEND_URL=$backend"
    expect "the backend's health" '{"status":"ok"}' "$(answer backend "$backend/api/health")"
    expect_in "the page" "<title>Taskflow</title>" "$(answer frontend "$frontend/")"
    expect_in "the script" "api/tasks" "$(answer frontend "$frontend/taskflow.js")"
    # Through the frontend, as a browser would.
    task=$(post "$frontend/api/tasks" '{"title":"Caulk the seams"}' | jq .id)
    expect "the list" "[{\"title\":\"Caulk the seams\",\"id\":$task,\"done\":false}]" "$(answer frontend "$frontend/api/tasks" | jq -c .)"
    at=$frontend/api/tasks/$task
    expect "a finished task" true "$(curl --silent --noproxy '*' --request PATCH --header 'content-type: application/json' --data '{"done":true}' "$at" | jq .done)"
    expect "removing it" 204 "$(curl --silent --noproxy '*' --request DELETE --output /dev/null --write-out '%{http_code}' "$at")"
    expect "the list afterwards" '[]' "$(answer backend "$backend/api/tasks")"
    stop_container backend frontend
}

answers_flask_postgres() {
    local production development at database
    production=$(tag_of flask-postgres production)
    development=$(tag_of flask-postgres development)
    at=http://127.0.0.1:$(free_port)
    start_container flask "$production" "PORT=${at##*:}"
    expect "health" '{"database":"sqlite","debug":false,"status":"ok"}' "$(answer flask "$at/health" | jq -cS .)"
    expect "a new part" cleat "$(post "$at/parts" '{"name":"cleat","stock":4}' | jq -r .name)"
    expect_in "the page" "<td>cleat</td><td>4</td>" "$(answer flask "$at/")"
    expect "who runs it" 1000 "$(podman_here exec flask id -u)"
    ! podman_here exec flask python -c 'import pytest' 2>/dev/null || fail "pytest is in the production image"
    stop_container flask

    start_container flask "$development" "FLASK_RUN_PORT=${at##*:}"
    expect "the development image's health" '{"database":"sqlite","debug":true,"status":"ok"}' "$(answer flask "$at/health" | jq -cS .)"
    podman_here exec flask python -m pytest -q -p no:cacheprovider >"$work/logs/pytest" 2>&1 || show_and_fail "$work/logs/pytest" "the development image's own tests fail"
    stop_container flask

    # It waits for a database that is not there yet.
    database=$(free_port)
    start_container flask "$production" "PORT=${at##*:}" DATABASE=postgres SQL_HOST=127.0.0.1 "SQL_PORT=$database" SQL_USER=tester 'SQL_PASSWORD=pass word' SQL_DATABASE=tester
    until_so "flask waits for its database" says flask 'waiting for PostgreSQL' || true
    expect_in "the log of a container without its database" "waiting for PostgreSQL" "$(podman_here logs flask 2>&1)"
    start_postgres "$database"
    expect "health with PostgreSQL" '{"database":"postgresql","debug":false,"status":"ok"}' "$(answer flask "$at/health" | jq -cS .)"
    post "$at/parts" '{"name":"shackle","stock":2}' >/dev/null
    expect "the list from PostgreSQL" '[{"id":1,"name":"shackle","stock":2}]' "$(answer flask "$at/parts" | jq -cS .)"
    stop_container flask
    stop_postgres
}

# is_reported URL: whether the report there is made; what is answered is in its caller's `answered`.
is_reported() {
    answered=$(answer web "$1")
    [ "$(jq -r .state <<<"$answered")" = SUCCESS ]
}

# says NAME TEXT: whether a container's log has it.
says() { [[ $(podman_here logs "$1" 2>&1) == *"$2"* ]]; }

answers_flask_celery() {
    local at report answered
    at=http://127.0.0.1:$(free_port)
    podman_here volume create reports >/dev/null
    start_container web "$(tag_of flask-celery web)" "PORT=${at##*:}" -- --volume reports:/var/lib/reports
    expect_in "the page" '<h1>Reports</h1>' "$(answer web "$at/")"
    report=$(post "$at/reports" '{"text":"Row, row, row your boat"}' | jq -r .id)
    expect "a report without a worker" PENDING "$(answer web "$at/reports/$report" | jq -r .state)"
    start_container worker "$(tag_of flask-celery worker)" -- --volume reports:/var/lib/reports
    if ! until_so "the worker makes its report" is_reported "$at/reports/$report"; then
        podman_here logs worker >&2
        fail "the worker made no report: $answered"
    fi
    expect "the report" '{"characters":23,"most_common":[["row",3],["your",1],["boat",1]],"words":5}' "$(jq -cS .report <<<"$answered")"
    # Where the machine has other things to do, a check may take longer than it is given.
    until_so "web is well" podman_here healthcheck run web || fail "web is not well by its own healthcheck"
    until_so "the worker is well" podman_here healthcheck run worker || fail "the worker is not well by its own healthcheck"
    # The healthcheck can fail: without a sign of life a worker is not well.
    ! podman_here exec --env WORKER_ALIVE_FILE=/tmp/nothing worker python -m reports.health worker 2>/dev/null || fail "the healthcheck never fails"
    stop_container worker web
    podman_here volume rm reports >/dev/null
}

answers_fastapi_prod() {
    local at image release
    image=$(tag_of fastapi-prod api)
    at=http://127.0.0.1:$(free_port)
    start_container api "$image" "UVICORN_PORT=${at##*:}" -- --read-only --cap-drop all
    expect "liveness" '{"status":"ok"}' "$(answer api "$at/livez")"
    expect "readiness" '{"status":"ok"}' "$(answer api "$at/readyz")"
    expect "who runs it, and how many" '{"uid":10001,"gid":10001,"pid":1}' "$(answer api "$at/whoami")"
    expect "processes" 1 "$(podman_here top api pid | tail -n +2 | wc -l)"
    expect "a tide" '{"height":1.5}' "$(post "$at/tide" '{"hours":2,"constituents":[{"amplitude":1.5,"speed":30,"phase":60}]}')"
    # The secret was there when it was needed: the signature is that of the key.
    release=$(answer api "$at/release")
    expect "the signature" \
        "$(jq -cjS .files <<<"$release" | openssl dgst -sha256 -hmac "$canary" | awk '{ print $NF }')" \
        "$(jq -r .signature <<<"$release")"
    stop_container api
}
