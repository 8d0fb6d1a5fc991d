"""What the calls about users and files answer; printed."""

import ctypes
import os
import resource
import socket
import struct
import subprocess
import threading
import time


def tried(what):
    try:
        print(what())
    except OSError as error:
        print(error.errno)


os.umask(0o27)
server = socket.socket(socket.AF_UNIX)
server.bind("/tmp/sock")
print(oct(os.stat("/tmp/sock").st_mode))

if os.fork() == 0:
    os.setgroups([7, 9])
    os.setresgid(33, 33, 33)
    os.setresuid(33, 33, 33)
    tried(lambda: os.setuid(0))
    print(os.getresuid(), os.getresgid(), os.getgroups())
    own = socket.socket(socket.AF_UNIX)
    own.bind("/tmp/own-sock")
    print(os.stat("/tmp/own-sock").st_uid)
    os.remove("/tmp/own-sock")
    unnamed = os.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o644)
    os.link(f"/proc/self/fd/{unnamed}", "/tmp/linked", src_dir_fd=os.open("/", 0), follow_symlinks=True)
    print(os.fstat(unnamed).st_uid, os.stat("/tmp/linked").st_gid, os.stat(f"/proc/self/fd/{unnamed}").st_uid)
    # The process that started it has ended before it does anything.
    subprocess.run(["sh", "-c", "echo hi > /tmp/by33; id -u; (sleep 0.3; touch /tmp/made; mv /tmp/made /tmp/orphan) &"])
    os.chmod("/tmp/by33", 0o4755)
    print(oct(os.stat("/tmp/by33").st_mode))
    for refused in [
        lambda: os.chmod("/etc/passwd", 0o777),
        lambda: os.chown("/tmp/by33", 0, 0),
        lambda: os.rename("/tmp/by44", "/tmp/q"),
        lambda: os.remove("/etc/passwd"),
        lambda: os.truncate("/etc/passwd", 0),
        lambda: os.utime("/etc/passwd", (1, 1)),
        lambda: os.mkdir("/x"),
        lambda: os.symlink("a", "/x"),
        lambda: os.mkfifo("/x"),
        lambda: os.mknod("/tmp/device", 0o20600, os.makedev(1, 3)),
        lambda: open("/etc/shadow").read(),
        lambda: os.listdir("/root"),
        lambda: os.chdir("/root"),
        lambda: os.stat("/root/x"),
        lambda: os.chroot("/"),
        lambda: os.setxattr("/etc/passwd", "user.a", b"1"),
        lambda: os.setgroups([0]),
        lambda: os.execv("/etc/passwd", ["x"]),
        lambda: open("/tmp/x/y", "w"),
        lambda: os.rmdir("/tmp"),
    ]:
        tried(refused)
    print([os.access(path, mode) for path, mode in [("/etc", 2), ("/etc/passwd", 4), ("/bin/su", 1), ("/tmp", 3)]])
    os.setxattr("/tmp/by33", "user.a", b"1")
    print(os.listxattr("/tmp/by33"), os.getxattr("/tmp/by33", "user.a"))
    os.mkdir("/tmp/d33", 0o3770)
    print(oct(os.stat("/tmp/d33").st_mode))
    os.chown("/tmp/d33", -1, 9)
    os.chmod("/tmp/d33", 0o2775)
    open("/tmp/d33/in", "w").close()
    print(os.stat("/tmp/d33/in").st_gid)
    os._exit(0)
os.wait()
for _ in range(3600):
    if os.path.exists("/tmp/orphan"):
        break
    time.sleep(0.05)
print(os.stat("/tmp/orphan").st_uid, oct(os.stat("/tmp/by33").st_mode))
os.chmod("/tmp/by33", 0o6777)
os.chown("/tmp/by33", -1, -1)
print(oct(os.stat("/tmp/by33").st_mode))


def in_a_thread():
    os.setegid(5)
    os.seteuid(5)
    open("/tmp/by5", "w").close()
    found = os.stat("/tmp/by5")
    print(found.st_uid, found.st_gid)
    os.seteuid(0)
    os.setegid(0)


thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()
print(os.geteuid(), os.getegid())

one, _other = socket.socketpair()
print(struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1:])
subprocess.run(["id"], user=12, group=13, extra_groups=[14])
libc = ctypes.CDLL(None)
print(libc.setfsuid(77), libc.setfsuid(-1))
open("/tmp/by77", "w").close()
print(os.stat("/tmp/by77").st_uid)
print(resource.prlimit(0, 10))
