import hashlib
import json
import os
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from .tides import Constituent, height

HERE = Path(__file__).resolve().parent
RELEASE = Path(os.environ.get("RELEASE_FILE", "/srv/release.json"))

app = FastAPI(title="Tides")


class Question(BaseModel):
    hours: float = Field(ge=0, le=8784)
    constituents: list[Constituent] = Field(min_length=1, max_length=40)


@app.get("/livez")
def alive() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/readyz")
def ready() -> JSONResponse:
    """Ready when the sources are those that were signed."""
    if not RELEASE.exists():
        return JSONResponse({"status": "not a release"}, status_code=503)
    signed = json.loads(RELEASE.read_text())
    for name, digest in signed["files"].items():
        if hashlib.sha256((HERE / name).read_bytes()).hexdigest() != digest:
            return JSONResponse({"status": f"{name} is not what was released"}, status_code=503)
    return JSONResponse({"status": "ok"})


@app.get("/release")
def release() -> JSONResponse:
    """What was signed, and the signature; who has the key can verify it."""
    return JSONResponse(json.loads(RELEASE.read_text()) if RELEASE.exists() else None)


@app.get("/whoami")
def whoami() -> dict[str, int]:
    return {"uid": os.getuid(), "gid": os.getgid(), "pid": os.getpid()}


@app.post("/tide")
def tide(question: Question) -> dict[str, float]:
    return {"height": height(question.hours, question.constituents)}
