"""In: Debian's static busybox. Out: the images that the cases stand on, as blobs, and how they are pushed to a registry.

`base` is small and has one of everything that is hard to keep in a layer; `configured` is the same with every field of a config set;
`triggers` has ONBUILD instructions; `tool` has no shell.
"""

import gzip
import hashlib
import io
import json
import struct
import tarfile
import urllib.request

TIME = 1_000_000_000
APPLETS = (
    "sh ash cat chmod chown chgrp cp cut date dd df diff du echo egrep env expr false find getopt grep head hostname id install ip ln ls md5sum mkdir mkfifo"
    " mknod mktemp mv nproc od paste printenv printf pwd readlink realpath rm rmdir sed seq sha256sum sleep sort stat su sync tail tar tee test"
    " touch tr true truncate tty umask uname uniq wc wget which whoami xargs yes"
).split()
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/sh
app:x:1000:1001:App:/home/app:/bin/sh
other:x:1002:1002::/home/other:/bin/sh
homeless:x:1003:1003:::/bin/sh
"""
GROUP = """\
root:x:0:
daemon:x:1:
wheel:x:10:app,daemon
staff:x:50:app,other
app:x:1001:
other:x:1002:
homeless:x:1003:
"""
# cap_net_raw+ep, as VFS_CAP_REVISION_2 has it.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


class Layer:
    """A layer that is being written."""

    def __init__(self):
        self.bytes = io.BytesIO()
        self.archive = tarfile.open(fileobj=self.bytes, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name, kind, mode, owner=(0, 0), data=b"", link="", device=(0, 0), xattrs=None):
        member = tarfile.TarInfo(name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name)
        member.type, member.mode, member.mtime = kind, mode, TIME
        member.uid, member.gid = owner
        member.size, member.linkname = len(data), link
        member.devmajor, member.devminor = device
        # The values are bytes; the archive is written with the escapes that keep them so.
        member.pax_headers = {f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in (xattrs or {}).items()}
        self.archive.addfile(member, io.BytesIO(data))

    def directory(self, name, mode=0o755, owner=(0, 0)):
        self.add(name, tarfile.DIRTYPE, mode, owner)

    def file(self, name, data, mode=0o644, owner=(0, 0), xattrs=None):
        self.add(name, tarfile.REGTYPE, mode, owner, data.encode() if isinstance(data, str) else data, xattrs=xattrs)

    def symlink(self, name, target, owner=(0, 0)):
        self.add(name, tarfile.SYMTYPE, 0o777, owner, link=target)

    def hard_link(self, name, target):
        self.add(name, tarfile.LNKTYPE, 0o644, link=target)

    def done(self):
        self.archive.close()
        return self.bytes.getvalue()


def root_layer(busybox):
    """Programs, users, directories, and something that the next layer takes away."""
    layer = Layer()
    for name in "bin dev etc home opt proc root run srv sys usr usr/bin usr/local usr/local/bin var var/lib".split():
        layer.directory(name, 0o700 if name == "root" else 0o755)
    layer.directory("tmp", 0o1777)
    layer.directory("home/app", 0o755, (1000, 1001))
    layer.file("bin/busybox", busybox, 0o755)
    for name in APPLETS:
        layer.symlink(f"bin/{name}", "busybox")
    layer.file("etc/passwd", PASSWD)
    layer.file("etc/group", GROUP)
    for name in ("hosts", "hostname", "resolv.conf"):
        layer.file(f"etc/{name}", "")
    layer.file("etc/base-image", "base\n")
    layer.file("etc/from-below", "below\n")
    layer.directory("opt/taken-away")
    layer.file("opt/taken-away/file", "gone\n")
    return layer.done()


def odd_layer():
    """One of everything that is hard to keep, and two removals."""
    layer = Layer()
    layer.directory("etc")
    layer.file("etc/.wh.from-below", "")
    layer.directory("opt")
    layer.file("opt/.wh.taken-away", "")
    layer.directory("odd")
    layer.directory("odd/tree")
    layer.file("odd/tree/one", "one\n")
    layer.file("odd/tree/two", "two\n", 0o600, (1000, 1001))
    layer.directory("odd/tree/sub", 0o750, (1000, 50))
    layer.file("odd/tree/sub/three", "three\n", 0o755)
    layer.directory("odd/empty")
    layer.directory("odd/sticky", 0o1777)
    layer.file("odd/setuid", "#!/bin/sh\n", 0o4755)
    layer.file("odd/setgid", "#!/bin/sh\n", 0o2755, (0, 50))
    layer.file("odd/capable", "capable\n", 0o755, xattrs={"security.capability": CAPABILITY})
    layer.file("odd/attributed", "attributed\n", xattrs={"user.note": b"kept"})
    layer.file("odd/first-name", "one file, three names\n")
    layer.hard_link("odd/second-name", "odd/first-name")
    layer.hard_link("odd/third-name", "odd/first-name")
    layer.add("odd/fifo", tarfile.FIFOTYPE, 0o620, (1000, 1001))
    layer.add("odd/null", tarfile.CHRTYPE, 0o666, device=(1, 3))
    layer.symlink("odd/to-file", "tree/one")
    layer.symlink("odd/to-tree", "tree", (1000, 1001))
    layer.symlink("odd/absolute", "/odd/tree")
    layer.symlink("odd/dangling", "nowhere")
    layer.symlink("odd/upwards", "../../../etc")
    layer.file(b"odd/caf\xe9", "not UTF-8\n")
    layer.file("odd/with space", "space\n")
    layer.file("odd/" + "n" * 255, "255 bytes\n")
    layer.directory("odd/" + "d" * 120)
    layer.file("odd/" + "d" * 120 + "/" + "f" * 120, "beyond 100 and 155\n")
    return layer.done()


def tool_layer():
    """Files without a shell."""
    layer = Layer()
    layer.directory("tool", 0o751, (1002, 50))
    layer.file("tool/file", "from the tool\n", 0o640, (1002, 50))
    layer.symlink("tool/link", "file")
    return layer.done()


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Image:
    """An image: layers, config, manifest; for one platform, or for two with the same layers."""

    def __init__(self, name, layers, config, architectures=("amd64",)):
        self.name, self.layers, self.blobs = name, layers, {}
        packed = [gzip.compress(layer, 1, mtime=0) for layer in layers]
        manifests = []
        for architecture in architectures:
            self.document = {
                "architecture": architecture,
                "os": "linux",
                "created": "2001-09-09T01:46:40Z",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
                "history": [{"created": "2001-09-09T01:46:40Z", "created_by": f"layer {number} of {name}"} for number in range(len(layers))],
            }
            if architecture == "arm64":
                self.document["variant"] = "v8"
            manifest = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": self.blob(json.dumps(self.document).encode(), "application/vnd.docker.container.image.v1+json"),
                "layers": [self.blob(layer, "application/vnd.docker.image.rootfs.diff.tar.gzip") for layer in packed],
            }
            data = json.dumps(manifest).encode()
            platform = {key: self.document[key] for key in ("architecture", "os", "variant") if key in self.document}
            manifests.append((data, {"mediaType": manifest["mediaType"], "digest": digest_of(data), "size": len(data), "platform": platform}))
        self.history = [entry["created_by"] for entry in self.document["history"]]
        if len(manifests) == 1:
            self.manifests = [("latest", manifests[0][1]["mediaType"], manifests[0][0])]
        else:
            kind = "application/vnd.docker.distribution.manifest.list.v2+json"
            index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry for _, entry in manifests]}).encode()
            self.manifests = [(entry["digest"], entry["mediaType"], data) for data, entry in manifests] + [("latest", kind, index)]
        self.digest = digest_of(self.manifests[-1][2])

    def blob(self, data, kind):
        self.blobs[digest_of(data)] = data
        return {"mediaType": kind, "digest": digest_of(data), "size": len(data)}

    def push(self, registry):
        """Pushes it as library/NAME:latest."""
        at = f"http://{registry}/v2/library/{self.name}"
        for digest, data in self.blobs.items():
            place = send("POST", f"{at}/blobs/uploads/", b"").headers["Location"]
            send("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", data, "application/octet-stream")
        for tag, kind, data in self.manifests:
            send("PUT", f"{at}/manifests/{tag}", data, kind)


def send(method, url, data, kind=None):
    """A request that has to go well, past any proxy."""
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": kind} if kind else {})
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)


def images(busybox):
    """All of them, `base` first."""
    root, odd = root_layer(busybox), odd_layer()
    configured = {
        "User": "app",
        "ExposedPorts": {"80/tcp": {}},
        "Env": [PATH, "GREETING=hello from the base", "EMPTY="],
        "Entrypoint": ["/base-entrypoint"],
        "Cmd": ["base-argument"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/home/app",
        "Labels": {"base": "yes", "replaced": "no"},
        "StopSignal": "SIGQUIT",
        "Healthcheck": {"Test": ["CMD", "/healthy"], "Interval": 5_000_000_000},
    }
    triggers = {
        "Env": [PATH],
        "Cmd": ["sh"],
        "OnBuild": [
            "ARG FLAVOUR=plain",
            "COPY triggered /srv/",
            "RUN echo $FLAVOUR > /srv/flavour",
            "ENV TRIGGERED=yes",
            'CMD ["/srv/triggered"]',
        ],
    }
    return [
        Image("base", [root, odd], {"Env": [PATH], "Cmd": ["sh"]}, ("amd64", "arm64")),
        Image("configured", [root, odd], configured),
        Image("triggers", [root, odd], triggers),
        Image("tool", [tool_layer()], {}),
    ]
