"""Serves the pages beside this file and hands what begins with /api/ to the backend. Python's standard library alone."""

import os
import signal
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

BACKEND = os.environ.get("BACKEND_URL", "http://127.0.0.1:8000")
PORT = int(os.environ.get("PORT", "8080"))
PAGES = Path(__file__).resolve().parent / "www"


class Handler(SimpleHTTPRequestHandler):
    def forward(self):
        if not self.path.startswith("/api/"):
            self.send_error(405)
            return
        length = int(self.headers.get("content-length") or 0)
        request = Request(
            BACKEND + self.path,
            data=self.rfile.read(length) if length else None,
            headers={"content-type": self.headers.get("content-type", "application/json")},
            method=self.command,
        )
        try:
            answer = urlopen(request, timeout=30)
        except HTTPError as error:
            answer = error
        except URLError as error:
            self.send_error(502, explain=f"the backend at {BACKEND} does not answer: {error.reason}")
            return
        with answer:
            body = answer.read()
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers.get("content-type", "application/json"))
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/api/"):
            self.forward()
        else:
            super().do_GET()

    do_POST = do_PATCH = do_DELETE = forward


if __name__ == "__main__":
    # As process 1 of a container it ends only if it says so.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"serving {PAGES} on port {PORT}, the backend is {BACKEND}", flush=True)
    ThreadingHTTPServer(("", PORT), partial(Handler, directory=str(PAGES))).serve_forever()
