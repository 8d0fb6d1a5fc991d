"""Runs a command on a terminal of its own and types at it: terminal.py WAIT TYPE [WAIT TYPE]... -- COMMAND...

Types each TYPE and a return when its WAIT was shown since the one before. What the command shows is printed; its exit code is passed on.
Where nothing is shown for three minutes, what was waited for is said, and the command ended.
"""

import os
import pty
import select
import signal
import sys

end = sys.argv.index("--")
words = sys.argv[1:end]
dialogue = list(zip(words[::2], words[1::2]))
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])
os.set_blocking(terminal, False)
shown, since, untyped = b"", 0, b""


def in_vain(*_):
    awaited = f"`{dialogue[0][0]}`" if dialogue else "its end"
    os.kill(pid, signal.SIGKILL)
    sys.exit(f"waited for {awaited} in vain; shown was:\n{shown.decode(errors='replace')}")


signal.signal(signal.SIGALRM, in_vain)
while True:
    signal.alarm(180)
    if dialogue and dialogue[0][0].encode() in shown[since:]:
        since = len(shown)
        untyped += dialogue.pop(0)[1].encode() + b"\r"
    readable, writable, _ = select.select([terminal], [terminal] if untyped else [], [])
    if writable:
        # What there is no room for is typed later; meanwhile all that is shown is read.
        try:
            untyped = untyped[os.write(terminal, untyped) :]
        except BlockingIOError:
            pass
    if not readable:
        continue
    try:
        more = os.read(terminal, 4096)
    except OSError:
        more = b""
    if not more:
        break
    shown += more
sys.stdout.buffer.write(shown)
sys.stdout.flush()
if dialogue:
    sys.exit(f"`{dialogue[0][0]}` was never shown")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
