import os
from pathlib import Path

from fastapi import FastAPI, HTTPException, status
from pydantic import BaseModel, Field

from .store import Store

app = FastAPI(title="Taskflow")
store = Store(Path(os.environ.get("TASKFLOW_DATABASE", "taskflow.sqlite3")))


class NewTask(BaseModel):
    title: str = Field(min_length=1, max_length=200)


class Progress(BaseModel):
    done: bool


class Task(NewTask):
    id: int
    done: bool


@app.get("/api/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/api/tasks")
def tasks() -> list[Task]:
    return store.all()


@app.post("/api/tasks", status_code=status.HTTP_201_CREATED)
def add(task: NewTask) -> Task:
    return store.add(task.title)


@app.patch("/api/tasks/{task_id}")
def finish(task_id: int, progress: Progress) -> Task:
    task = store.finish(task_id, progress.done)
    if task is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such task")
    return task


@app.delete("/api/tasks/{task_id}", status_code=status.HTTP_204_NO_CONTENT)
def remove(task_id: int) -> None:
    if not store.remove(task_id):
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such task")
