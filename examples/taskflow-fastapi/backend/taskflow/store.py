"""Tasks in SQLite: one file, one table."""

import sqlite3
from contextlib import closing
from pathlib import Path


class Store:
    def __init__(self, path: Path):
        self.path = path
        with closing(self._open()) as database, database:
            database.execute(
                "create table if not exists task "
                "(id integer primary key, title text not null, done integer not null default 0)"
            )

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=10)
        database.row_factory = sqlite3.Row
        return database

    def all(self) -> list[dict]:
        with closing(self._open()) as database:
            return [_task(row) for row in database.execute("select * from task order by id")]

    def add(self, title: str) -> dict:
        with closing(self._open()) as database, database:
            rows = database.execute("insert into task (title) values (?) returning *", (title,))
            return _task(rows.fetchone())

    def finish(self, task_id: int, done: bool) -> dict | None:
        with closing(self._open()) as database, database:
            row = database.execute("update task set done = ? where id = ? returning *", (done, task_id)).fetchone()
            return _task(row) if row else None

    def remove(self, task_id: int) -> bool:
        with closing(self._open()) as database, database:
            return database.execute("delete from task where id = ?", (task_id,)).rowcount == 1


def _task(row: sqlite3.Row) -> dict:
    return {"id": row["id"], "title": row["title"], "done": bool(row["done"])}
