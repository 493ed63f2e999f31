"""A terminal with a program in it, for tests: a pty, and pyte as what somebody would see.

terminal.py COLUMNS ROWS COMMAND...   reads requests from standard input, JSON, a line each, and answers "show" with such a line:
  {"keys": TEXT}  {"size": [COLUMNS, ROWS]}  {"signal": NAME}  {"pause": true or false}: whether anything is taken from it  {"show": true}
"""
import fcntl, json, os, pty, select, signal, struct, sys, termios, threading, time
import pyte

columns, rows = int(sys.argv[1]), int(sys.argv[2])
screen = pyte.Screen(columns, rows)
stream = pyte.ByteStream(screen)
lock = threading.Lock()
paused = threading.Event()
seen = [0]


def resize(columns, rows):
    fcntl.ioctl(main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


main, other = pty.openpty()
resize(columns, rows)
before = termios.tcgetattr(other)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(other, termios.TIOCSCTTY, 0)
    for fd in 0, 1, 2:
        os.dup2(other, fd)
    os.close(main)
    os.execvp(sys.argv[3], sys.argv[3:])


def drain():
    """Takes what the program has written until now. Others wait."""
    while not paused.is_set() and select.select([main], [], [], 0)[0]:
        data = os.read(main, 65536)
        seen[0] += len(data)
        stream.feed(data)


def read():
    while True:
        select.select([main], [], [], 0.05)
        with lock:
            drain()
        if paused.is_set():
            time.sleep(0.01)


threading.Thread(target=read, daemon=True).start()
state = {"ended": None, "stopped": False}


def look():
    if state["ended"] is not None:
        return
    pid, status = os.waitpid(child, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
    if pid == 0:
        return
    if os.WIFSTOPPED(status):
        state["stopped"] = True
    elif os.WIFCONTINUED(status):
        state["stopped"] = False
    else:
        state["ended"] = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def show():
    look()
    with lock:
        drain()  # what it wrote before it ended, or was stopped
        lines = [line.rstrip() for line in screen.display]
        reversed_rows = [y for y in range(screen.lines) if screen.buffer[y][0].reverse]
        return {
            **state,
            "lines": lines,
            "reversed": reversed_rows,
            "isCursorHidden": screen.cursor.hidden,
            "isOther": (1049 << 5) in screen.mode,
            "isAsBefore": termios.tcgetattr(other) == before,
            "bytes": seen[0],
        }


for line in sys.stdin:
    request = json.loads(line)
    if "keys" in request:
        os.write(main, request["keys"].encode())
    if "size" in request:
        with lock:
            screen.resize(columns=request["size"][0], lines=request["size"][1])
        resize(*request["size"])
    if "signal" in request:
        os.kill(child, getattr(signal, request["signal"]))
    if "pause" in request:
        paused.set() if request["pause"] else paused.clear()
    if "show" in request:
        print(json.dumps(show()), flush=True)
