"""Programs against plain Python: what they print and how they end is what ``python FILE`` makes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from egcfg.sandbox import Execution, ExecutionResult, Outcome, Sandbox

# Name -> program, or program and input. {FOLDER} is the folder that it runs in.
PROGRAMS: dict[str, str | tuple[str, str]] = {
    # --- names ---
    "exit": "print(1)\nexit()\nprint(2)",
    "exit with a status": "exit(3)",
    "quit": "print(1)\nquit(0)\nprint(2)",
    "exit in a function": "def f():\n    exit()\n    print(2)\nf()",
    "exit without a call": "exit\nquit\nprint(exit, quit)",
    "help": "def f():\n    'Adds.'\nhelp(f)",
    "site names": "print(copyright)\nprint(str(credits)[:20])\nprint(license)",
    "module names": "print(sorted(globals()))",
    "own name": "print(__name__, __package__, __spec__, __doc__, __cached__)",
    "docstring": "'about'\nprint(__doc__)",
    "builtins": "print(__builtins__.len([1]), type(__builtins__).__name__)",
    "main module": (
        "import sys, __main__\nx = 5\n"
        "print(__main__.x, sys.modules['__main__'] is __main__, vars(__main__) is globals())"
    ),
    "main guard": "def main():\n    print('ran')\nif __name__ == '__main__':\n    main()",
    "annotations": "x: int = 3\nprint(__annotations__)",
    "loader": (
        "import sys\nmain = sys.modules['__main__']\n"
        "print(type(__loader__).__name__, main.__loader__.get_source('__main__')[:10])"
    ),
    # --- arguments and the file ---
    "arguments": "import sys\nprint(len(sys.argv), sys.argv[1:], sys.argv == [__file__])",
    "original arguments": "import sys\nprint(len(sys.orig_argv), sys.orig_argv[1] == __file__)",
    "imports itself": (
        "print(__name__)\n"
        "if __name__ == '__main__':\n    import program\n    print(program.__file__ == __file__)"
    ),
    "argparse": (
        "import argparse\np = argparse.ArgumentParser()\n"
        "p.add_argument('--n', type=int, default=4)\n"
        "p.add_argument('rest', nargs='*')\nprint(p.parse_args(), p.prog)"
    ),
    "argparse error": (
        "import argparse\np = argparse.ArgumentParser()\np.add_argument('n')\np.parse_args()"
    ),
    "getopt": "import getopt, sys\nprint(getopt.getopt(sys.argv[1:], 'ab'))",
    "file": "import os\nprint(os.path.basename(__file__), os.path.isabs(__file__))",
    "file in the working directory": (
        "import os\nprint(os.path.dirname(os.path.abspath(__file__)) == os.getcwd())\n"
        "print(os.listdir())\nos.chdir(os.path.dirname(__file__))"
    ),
    "reads itself": "print(open(__file__).read())",
    "quine": "print(open(__file__, encoding='utf-8').read(), end='')  # é",
    "first path": "import os, sys\nprint(sys.path[0] == os.getcwd())",
    "imports what it writes": (
        "open('helper.py', 'w').write('x = 7')\nimport helper\nprint(helper.x, helper.__name__)"
    ),
    "home": "from pathlib import Path\nprint(Path.home().is_dir())",
    # --- input and output ---
    "input": ("a, b = map(int, input().split())\nprint(a + b)", "2 3\n"),
    "input to the end": (
        "try:\n    while True:\n        print(repr(input()))\nexcept EOFError:\n    print('end')",
        "a\n\nb",
    ),
    "end of input": "input()",
    "lines": ("import sys\nprint([line for line in sys.stdin])", "a\nb\r\nc\rd\x0ce\x85f\n"),
    "carriage returns": ("print(repr(input()), repr(input()))", "a\r\nb\rc\n"),
    "readline": ("import sys\nprint(repr(sys.stdin.readline()), sys.stdin.read())", "a\nb\nc"),
    "bytes of input": ("import sys\nprint(sys.stdin.buffer.read())", "a\r\né\n"),
    "descriptor 0": ("print(open(0).read())", "a\nb\n"),
    "os.read": ("import os\nprint(os.read(0, 100))", "a\nb\n"),
    "fileinput": ("import fileinput\nfor l in fileinput.input():\n    print(l, end='')", "1\n2\n"),
    "fileinput of -": (
        "import fileinput\nfor l in fileinput.input('-'):\n    print(fileinput.filename(), l)",
        "1\n2\n",
    ),
    "/dev/stdin": ("print(open('/dev/stdin').read())", "a\nb\n"),
    "/dev/stdin by pathlib": (
        "from pathlib import Path\nprint(Path('/dev/stdin').read_text().split())",
        "a\nb\n",
    ),
    "/dev/stdin by os": ("import os\nprint(os.read(os.open('/dev/stdin', os.O_RDONLY), 9))", "ab"),
    "/dev/stdin as sys.stdin": (
        "import sys\nsys.stdin = open('/dev/stdin')\nprint(input(), sys.stdin.name)",
        "a\nb\n",
    ),
    "/dev/stdin by fileinput": (
        "import fileinput\nprint([*fileinput.input('/dev/stdin')])",
        "a\nb\n",
    ),
    "/dev/fd/0": ("with open('/dev/fd/0', 'rb') as f:\n    print(f.read())", "a\nb\n"),
    "/dev/stdout": "f = open('/dev/stdout', 'w')\nprint(3, file=f)\nf.close()\nprint(4)",
    "/dev/stderr": "import os\nprint('no', file=open('/dev/stderr', 'w'))\nprint(open.__name__)",
    "/dev/null": "print(open('/dev/null').read() == '')",
    "/dev/nothing": "open('/dev/nothing')",
    "stream names": (
        "import sys\n"
        "for s in (sys.stdin, sys.stdout, sys.stderr):\n"
        "    print(s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.newlines)\n"
        "    print(s.fileno(), s.buffer.name, s.isatty(), s.closed, type(s.buffer).__name__)\n"
        "print(sys.stdin)"
    ),
    "line ends of output": "import sys\nsys.stdout.write('a\\r\\nb\\rc\\n')",
    "bytes of output": "import sys\nprint('a')\nsys.stdout.flush()\nsys.stdout.buffer.write(b'b')",
    "output in an unclosed file": "out = open(1, 'w', closefd=False)\nout.write('5\\n')",
    "output in a list": (
        "import sys\nout = []\nprint = out.append\nprint('a')\nsys.stdout.write(''.join(out))"
    ),
    "another stdout": "import io, sys\nsys.stdout = io.StringIO()\nprint('lost')",
    "wrapped stdout": (
        "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, 'latin-1')\nprint('é')"
    ),
    "reconfigured": "import sys\nsys.stdout.reconfigure(line_buffering=True)\nprint('a')",
    # --- the end ---
    "sys.exit": "import sys\nprint(1)\nsys.exit()",
    "sys.exit 0": "import sys\nsys.exit(0)",
    "sys.exit 7": "import sys\nsys.exit(7)",
    "sys.exit text": "import sys\nsys.exit('bad')",
    "sys.exit True": "import sys\nsys.exit(True)",
    "sys.exit in try": "import sys\ntry:\n    sys.exit(2)\nfinally:\n    print('last')",
    "sys.exit in a thread": (
        "import sys, threading\nt = threading.Thread(target=sys.exit)\nt.start()\nt.join()\n"
        "print(1)"
    ),
    "raise SystemExit": "raise SystemExit",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "uncaught": "print(1)\n[][1]",
    "uncaught of its own": "class Odd(Exception): pass\nraise Odd('x', 3)",
    "excepthook": (
        "import sys\n"
        "def hook(kind, error, tb):\n"
        "    print(kind.__name__, error, tb.tb_frame.f_code.co_name, tb.tb_lineno)\n"
        "    sys.__excepthook__(kind, error, tb)\n"
        "sys.excepthook = hook\n1 / 0"
    ),
    "excepthook and sys.exit": "import sys\nsys.excepthook = print\nsys.exit(1)",
    "sys.exit 256": "import sys\nsys.exit(256)",
    "sys.exit False": "import sys\nsys.exit(False)",
    "sys.exit -1": "import sys\nsys.exit(-1)",
    "SystemExit of its own": "class S(SystemExit): pass\nraise S(0)",
    "atexit": (
        "import atexit\natexit.register(print, 'bye')\natexit.register(print, 'so')\nprint(1)"
    ),
    "atexit after an error": "import atexit\natexit.register(print, 'bye')\n1 / 0",
    "atexit after an exit": "import atexit, sys\natexit.register(print, 'bye')\nsys.exit(4)",
    "threads at the end": (
        "import threading, time\n"
        "def work():\n    time.sleep(0.05)\n    print('thread')\n"
        "threading.Thread(target=work).start()\nprint('main')"
    ),
    "threads after an error": (
        "import threading, time\n"
        "def work():\n    time.sleep(0.05)\n    print('thread')\n"
        "threading.Thread(target=work).start()\n1 / 0"
    ),
    "daemon threads": (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint('main')"
    ),
    "excepthook of threads": (
        "import threading\nthreading.excepthook = lambda a: print(a.exc_type.__name__)\n"
        "t = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()"
    ),
    "thread pool at the end": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "pool = ThreadPoolExecutor(1)\npool.submit(print, 'from the pool')"
    ),
    "del at the end": "class A:\n    def __del__(self): print('gone')\na = A()\nprint('end')",
    "del at the end, in a cycle": (
        "class A:\n    def __del__(self): print('gone', A is None)\na = A()\na.me = a"
    ),
    "del at the end, in order": (
        "class A:\n    def __init__(self, n): self.n = n\n    def __del__(self): print(self.n)\n"
        "a = A(1)\n_b = A(2)\nc = A(3)\n__d = A(4)"
    ),
    "del after an error": (
        "class A:\n    def __del__(self): print('gone')\ndef f():\n    a = A()\n    1 / 0\nf()"
    ),
    "generator at the end": "def g():\n    try: yield\n    finally: print('f')\nx = g()\nnext(x)",
    "names taken away": "print(1)\nglobals().clear()",
    "builtins taken away": "del __builtins__\nprint(1)",
    "closed stdout": "import sys\nprint(1)\nsys.stdout.close()",
    "weakref.finalize": (
        "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'gone')"
    ),
    # --- what looks at the source ---
    "getsource": "import inspect\ndef f(x):\n    return x  # here\nprint(inspect.getsource(f))",
    "getsource of a class": "import inspect\nclass A:\n    x = 1\nprint(inspect.getsource(A))",
    "getfile": "import inspect, os\ndef f(): pass\nprint(os.path.basename(inspect.getfile(f)))",
    "getmodule": "import inspect\ndef f(): pass\nprint(inspect.getmodule(f).__name__)",
    "linecache": "import linecache\nprint(linecache.getline(__file__, 1))",
    "traceback": (
        "import traceback\ndef f():\n    return 1 / 0\n"
        "try:\n    f()\nexcept ZeroDivisionError:\n    text = traceback.format_exc()\n"
        "print([line for line in text.splitlines() if 'File' not in line])"
    ),
    "traceback entries": (
        "import os, traceback\n"
        "try:\n    [][0]\nexcept IndexError as e:\n"
        "    for s in traceback.extract_tb(e.__traceback__):\n"
        "        print(os.path.basename(s.filename), s.lineno, s.name, s.line)"
    ),
    "logging": (
        "import logging, sys\n"
        "logging.basicConfig(stream=sys.stdout, format='%(filename)s:%(lineno)d %(module)s "
        "%(name)s %(message)s')\nlogging.warning('w')"
    ),
    "warnings": (
        "import warnings\n"
        "with warnings.catch_warnings(record=True) as seen:\n    warnings.warn('w')\n"
        "print(seen[0].lineno, seen[0].category.__name__, len(seen))"
    ),
    "doctest": (
        "import doctest\ndef f():\n    '''\n    >>> f()\n    1\n    '''\n    return 1\n"
        "print(doctest.testmod())"
    ),
    "unittest": (
        "import unittest\n"
        "class T(unittest.TestCase):\n    def test(self): self.assertEqual(1, 1)\n"
        "unittest.main(exit=False)\nprint('after')"
    ),
    "line of a frame": "import sys\n\nprint(sys._getframe().f_lineno)",
    # --- what looks the module up by name ---
    "pickle": (
        "import pickle\nclass A:\n    def __init__(self): self.x = 1\n"
        "data = pickle.dumps(A())\nprint(pickle.loads(data).x, b'__main__' in data)"
    ),
    "pickle of a function": (
        "import pickle\ndef f(): return 2\nprint(pickle.loads(pickle.dumps(f))())"
    ),
    "copy": "import copy\nclass A:\n    x = [1]\nprint(copy.deepcopy(A()).x)",
    "repr of a class": "class A: pass\nprint(A, A.__module__, A.__qualname__)",
    "dataclass": (
        "from __future__ import annotations\nfrom dataclasses import dataclass, fields\n"
        "from typing import ClassVar\n"
        "@dataclass\nclass P:\n    x: int\n    y: ClassVar[int] = 1\nprint(P(3), len(fields(P)))"
    ),
    "type hints": (
        "from __future__ import annotations\nfrom typing import get_type_hints\n"
        "class A: pass\ndef f(a: A, b: list[A]) -> A: ...\nprint(get_type_hints(f))"
    ),
    "namedtuple": (
        "from collections import namedtuple\nP = namedtuple('P', 'x')\nprint(P(1), P.__module__)"
    ),
    "enum": "import enum\nclass E(enum.Enum):\n    A = 1\nprint(E.A, repr(E['A']), E.A.__module__)",
    "singledispatch": (
        "from __future__ import annotations\nfrom functools import singledispatch\n"
        "@singledispatch\ndef f(x): return 'any'\n@f.register\ndef _(x: int): return 'int'\n"
        "print(f(1), f(''))"
    ),
    # --- the text ---
    "BOM": "\ufeffprint('é')",
    "BOM and cookie": "\ufeff# -*- coding: utf-8 -*-\nprint('é')",
    "cookie": "# -*- coding: utf-8 -*-\nprint('é')",
    "cookie in line 2": "#!/usr/bin/env python3\n# vim: set fileencoding=utf-8 :\nprint('é')",
    "latin cookie": "# -*- coding: latin-1 -*-\nprint('é', len('é'))",
    "cookie against a BOM": "\ufeff# coding: latin-1\nprint(1)",
    "unknown cookie": "# coding: gibberish\nprint(1)",
    "line ends": "x = '''a\r\nb'''\r\nprint(repr(x))\r\n",
    "lone carriage returns": "print(1)\rprint(2)\r",
    "form feed": "x = 1\n\x0c\nprint(x)",
    "no last line end": "print(1)",
    "nothing": "",
    "null byte": "print(1)\0",
    "syntax error": "print(1)\nx = (",
    "indentation error": "def f():\nreturn 1",
    "tabs": "if 1:\n\tprint(1)\n        print(2)",
    "future": (
        "'doc'\nfrom __future__ import annotations\ndef f(x: undefined): ...\n"
        "print(f.__annotations__)"
    ),
    "late future": "x = 1\nfrom __future__ import annotations",
    "syntax warning": "print(1 is 1)",
    # --- the machinery ---
    "lock of multiprocessing": "from multiprocessing import Lock\nwith Lock():\n    print('held')",
    "semaphores of multiprocessing": (
        "import multiprocessing as m\ns = m.Semaphore(2)\ns.acquire()\n"
        "print(s.get_value(), m.RLock().acquire(), m.Event().is_set(), m.current_process().name)"
    ),
    "queue of multiprocessing": (
        "from multiprocessing import Queue\nq = Queue()\nq.put([1])\nprint(q.get())"
    ),
    "values of multiprocessing": (
        "from multiprocessing import Array, Value\nv = Value('i', 3)\n"
        "with v.get_lock():\n    v.value += 1\nprint(v.value, Array('d', [1])[:])"
    ),
    "thread stack": (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**26)\n"
        "def f(n): return n and f(n - 1) + 1\n"
        "t = threading.Thread(target=lambda: print(f(20000)))\nt.start()\nt.join()"
    ),
    "main thread": (
        "import threading\nprint(threading.current_thread().name, threading.active_count())"
    ),
    "asyncio": (
        "import asyncio\nasync def f():\n    await asyncio.sleep(0)\n    print(1)\nasyncio.run(f())"
    ),
    "recursion to 990": "def f(n): return n and f(n - 1) + 1\nprint(f(990))",
    "recursion": "def f(): f()\ntry:\n    f()\nexcept RecursionError as e:\n    print(str(e)[:32])",
    "exec": (
        "exec('x = 1')\nprint(x, eval('x + 1'))\ncode = compile('x', 'f', 'eval')\n"
        "print(eval(code))"
    ),
    "runpy": (
        "import runpy\nopen('m.py', 'w').write('y = __name__')\nprint(runpy.run_path('m.py')['y'])"
    ),
    "tempfile": (
        "import os, tempfile\nwith tempfile.NamedTemporaryFile() as f:\n"
        "    print(os.path.exists(f.name))"
    ),
    "time zone": "import time\nprint(time.tzname[0], time.localtime(0).tm_hour)",
    "interpreter": "import os, sys\nprint(os.path.exists(sys.executable))",
    "platform": "import platform\nprint(platform.platform(), platform.python_version())",
    "locale": "import locale\nprint(locale.getpreferredencoding(False))",
    "unraisable": "class A:\n    def __del__(self): 1 / 0\nA()\nprint('on')",
    "gc": "import gc\nprint(gc.isenabled(), gc.get_threshold())",
    "signal": (
        # Not SIGINT: whoever starts the tests may have it ignored.
        "import signal\nprint(signal.getsignal(signal.SIGPIPE), signal.getsignal(signal.SIGTERM))"
    ),
    "alarm": (
        "import signal, time\nsignal.signal(signal.SIGALRM, lambda *_: print('rang'))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01)\ntime.sleep(0.1)"
    ),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., object]:
    """Return what starts a program in a process of its own, and returns that process."""

    def start(source: str) -> subprocess.Popen[bytes]:
        folder = tmp_path_factory.mktemp("plain")
        file = folder / "program.py"
        file.write_bytes(source.encode())
        environment = {"LANG": "C.UTF-8", "PATH": os.defpath, "TZ": "UTC", "HOME": str(folder)}
        return subprocess.Popen(
            [sys.executable, str(file)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start


def ending(result: ExecutionResult) -> str:
    """Return the status that a process would have ended with, and the exception."""
    if result.raised is None:
        return f"{result.outcome} "
    if result.raised.type != "SystemExit":
        return f"{result.outcome} {result.raised.type}"
    return f"{Outcome.EXCEPTION} exit"


def plain_ending(status: int, errors: str) -> str:
    if status == 0:
        return f"{Outcome.OK} "
    last = errors.rstrip().rpartition("\n")[2]
    kind = last.partition(":")[0].rpartition(".")[2]
    uncaught = "Traceback" in errors or kind in ("SyntaxError", "IndentationError", "TabError")
    return f"{Outcome.EXCEPTION} {kind if uncaught else 'exit'}"


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_runs_as_under_plain_python(
    run: Callable[..., list[ExecutionResult]],
    sandbox: Sandbox,
    plain: Callable[..., object],
    name: str,
) -> None:
    entry = PROGRAMS[name]
    source, stdin = entry if isinstance(entry, tuple) else (entry, "")
    process = plain(source)
    (result,) = run(sandbox.run([Execution(source=source, stdin=stdin, run_as_main=True)]))
    stdout, stderr = process.communicate(stdin.encode(), timeout=60)
    expected = (
        stdout.decode("utf-8", "backslashreplace"),
        plain_ending(process.returncode, stderr.decode()),
    )
    assert (result.stdout, ending(result)) == expected
