#!/bin/sh
# Waits for PostgreSQL where that is the database, makes the tables that are missing, and becomes the command.
set -eu

if [ "${DATABASE:-}" = postgres ]; then
    python - <<'PYTHON'
import os
import socket
import sys
import time

place = (os.environ.get("SQL_HOST", "127.0.0.1"), int(os.environ.get("SQL_PORT", "5432")))
for attempt in range(120):
    try:
        socket.create_connection(place, timeout=5).close()
        break
    except OSError as error:
        if attempt == 0:
            print(f"entrypoint: waiting for PostgreSQL on {place[0]}:{place[1]}: {error}", file=sys.stderr)
        time.sleep(0.5)
else:
    sys.exit("entrypoint: PostgreSQL did not answer")
PYTHON
fi

flask --app inventory create-tables
exec "$@"
