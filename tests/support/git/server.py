"""In: a directory of bare repositories, and how they are served. Out: the port, on the first line; then http until it is ended.

    python3 server.py DIRECTORY smart|plain|login
    python3 server.py DIRECTORY known HEADER
    python3 server.py DIRECTORY spy FILE
    python3 server.py DIRECTORY elsewhere URL

`smart` is git's own `http-backend`, `plain` gives files alone, `login` answers 401 to everybody. `known` is `smart` for whoever sends this
`Authorization`, `spy` is `smart` and writes down which each request has, `elsewhere` sends everybody to another server.
"""

import functools
import http.server
import os
import subprocess
import sys


class Plain(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_):
        pass


class Smart(Plain):
    """Hands each request to git's own CGI program."""

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def answer(self):
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": self.directory,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_GLOBAL": os.environ.get("GIT_CONFIG_GLOBAL", "/dev/null"),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        ran = subprocess.run(["git", "http-backend"], input=self.body(), env=environment, stdout=subprocess.PIPE, check=False)
        head, _, body = ran.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self.send_response(int(fields.pop("Status", "200").split(" ")[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Known(Smart):
    """Answers those who say the right word."""

    def answer(self):
        if self.headers.get("Authorization") == sys.argv[3]:
            super().answer()
        else:
            Login.do_GET(self)


class Spy(Smart):
    """Writes down who everybody says that they are."""

    def answer(self):
        with open(sys.argv[3], "a", encoding="utf-8") as file:
            file.write(f"{self.headers.get('Authorization')}\n")
        super().answer()


class Elsewhere(Plain):
    """Has moved."""

    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", sys.argv[3] + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Login(Plain):
    """Wants to know who asks."""

    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()


def main():
    directory, kind = sys.argv[1:3]
    kinds = {"smart": Smart, "plain": Plain, "login": Login, "known": Known, "spy": Spy, "elsewhere": Elsewhere}
    handler = functools.partial(kinds[kind], directory=directory)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    print(server.server_port, flush=True)
    server.serve_forever()


main()
