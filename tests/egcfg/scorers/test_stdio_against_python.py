"""Verdicts on whole programs, against what plain ``python file.py`` prints.

The oracle reads the rule for itself, on bytes: a program is right where it ends with status 0 and
prints the expected output up to whitespace at the ends of lines and empty lines at the end.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import frozen

from egcfg.interfaces.problem import Problem, StdioTest
from egcfg.interfaces.scorer import Score, Scorer, TestStatus
from egcfg.scorers.stdio import StdioOptions, StdioScorer


@frozen
class Form:
    """A program and an input; where it has an entry point, whether it calls that itself."""

    program: str
    stdin: str = ""
    entry_point: str | None = None
    calls_it: bool = False


SOLVE = "def solve():\n    n = int(input())\n    print(n)\n    print(n * n)\n"
FORMS = {
    "input": Form("n = int(input())\nprint(n)\nprint(n * 2)", "21\n"),
    "input without a line end": Form("print(input())\nprint('end')", "21"),
    "two numbers of a line": Form(
        "a, b = map(int, input().split())\nprint(a + b)\nprint(a, b)", "1 2\n"
    ),
    "read": Form("import sys\nfor w in sys.stdin.read().split():\n    print(w)", "a b\nc\n"),
    "lines": Form(
        "import sys\nfor line in sys.stdin:\n    print(line.strip(), len(line))", "a\nbb\n"
    ),
    "readlines": Form("import sys\nprint(*map(len, sys.stdin.readlines()), sep='\\n')", "a\nbb"),
    "buffer": Form("import sys\nprint(sys.stdin.buffer.read())\nprint()", "a\r\nb\n"),
    "readline of the buffer": Form(
        "import sys\nr = sys.stdin.buffer.readline\nprint(int(r()) + int(r()))\nprint('x')",
        "4\n5\n",
    ),
    "os.read": Form("import os\nprint(os.read(0, 99).decode().upper())\nprint(1)", "abc\n"),
    "open(0)": Form("print(open(0).read().count('a'))\nprint('b')", "banana\n"),
    "iter": Form("for x in iter(input, ''):\n    print(x)", "p\nq\n\nr\n"),
    "windows input": Form("a = input()\nprint(len(a), a)\nprint(input())", "ab\r\ncd\r\n"),
    "windows input by bytes": Form("import sys\nprint(len(sys.stdin.buffer.readline()))", "ab\r\n"),
    "no input": Form("print('nothing')\nprint('read')"),
    "empty lines within": Form("print('a')\nprint()\nprint('b')"),
    "empty lines around": Form("print()\nprint('a')\nprint('\\n\\n')"),
    "blanks at ends": Form("print('a  ')\nprint('b\\t')\nprint(end='  ')"),
    "blanks at starts": Form("print('  a')\nprint('\\tb')"),
    "blanks within": Form("print('a  b')\nprint('c\\td')"),
    "no line end": Form("import sys\nsys.stdout.write('a\\nb')"),
    "windows output": Form("import sys\nsys.stdout.write('a\\r\\nb\\r\\n')"),
    "lone carriage returns": Form("import sys\nsys.stdout.write('a\\rb\\nc\\r')"),
    "form feed": Form("print('a\\x0cb')\nprint('c\\x0c')"),
    "vertical tab": Form("print('a\\x0bb')\nprint('c\\x0b')"),
    "separators": Form("print('a\\x1cb')\nprint('c\\x1dd')\nprint('e\\x1ef')"),
    "next line": Form("print('a\\x85b')\nprint('c\\x85')"),
    "line separators": Form("print('a\\u2028b')\nprint('c\\u2029')"),
    "no-break blanks": Form("print('a\\xa0')\nprint('b\\u3000')"),
    "nul": Form("print('a\\0b')\nprint('\\0')"),
    "byte order mark": Form("print('\\ufeffa')\nprint('b')"),
    "accents": Form("print('\\xe9t\\xe9')\nprint('e\\u0301')"),
    "emoji read": Form("s = input()\nprint(len(s), s)\nprint(s[::-1])", "a\U0001f600b\n"),
    "case": Form("print('Yes')\nprint('nO')"),
    "bytes": Form("import sys\nsys.stdout.buffer.write(b'a\\n\\xff\\n')"),
    "escapes of bytes": Form("print('a')\nprint('\\\\xff')"),
    "utf-16": Form("import sys\nsys.stdout.buffer.write('a\\nb'.encode('utf-16'))"),
    "mixed layers": Form(
        "import os, sys\nprint('a', flush=True)\nos.write(1, b'b\\n')\n"
        "sys.stdout.buffer.write(b'c\\n')"
    ),
    "lone surrogate": Form("print('a')\nprint('\\ud800')"),
    "numbers": Form("print(0.1 + 0.2)\nprint(1e16)\nprint(10 ** 20)"),
    "nothing": Form("pass"),
    "blanks alone": Form("print(' ')\nprint()"),
    "errors beside": Form("import sys\nprint('x', file=sys.stderr)\nprint('a')\nprint('b')"),
    "many errors": Form(
        "import sys\nprint('x' * 3_000_000, file=sys.stderr)\nprint('a')\nprint('b')"
    ),
    "sys.exit": Form("import sys\nprint('a')\nprint('b')\nsys.exit()"),
    "sys.exit(0)": Form("import sys\nprint('a')\nsys.exit(0)\nprint('b')"),
    "sys.exit(1)": Form("import sys\nprint('a')\nprint('b')\nsys.exit(1)"),
    "sys.exit('0')": Form("import sys\nprint('a')\nprint('b')\nsys.exit('0')"),
    "SystemExit(False)": Form("print('a')\nprint('b')\nraise SystemExit(False)"),
    "exception": Form("print('a')\nprint('b')\nraise ValueError"),
    "exception caught": Form(
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    print(e)\nprint('b')"
    ),
    "end of input": Form("print('a')\nprint('b')\ninput()"),
    "end of input caught": Form(
        "while True:\n    try:\n        print(input())\n    except EOFError:\n        break",
        "a\nb\n",
    ),
    "syntax error": Form("print('a')\nprint('b'"),
    "assertion": Form("print('a')\nprint('b')\nassert False"),
    "guard": Form(
        "def main():\n    print('a')\n    print('b')\nif __name__ == '__main__':\n    main()"
    ),
    "thread": Form(
        "import threading\nt = threading.Thread(target=lambda: print('a\\nb'))\nt.start()\nt.join()"
    ),
    "thread that outlives the last line": Form(
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('a\\nb'))).start()"
    ),
    "exit handler": Form("import atexit\natexit.register(print, 'b')\nprint('a')"),
    "deep recursion": Form(
        "import sys\nsys.setrecursionlimit(20000)\n"
        "def f(n):\n    return n and 1 + f(n - 1)\nprint(f(5000))\nprint('b')"
    ),
    "too deep recursion": Form(
        "def f(n):\n    return n and 1 + f(n - 1)\nprint('a')\nprint(f(5000))"
    ),
    "redirected": Form(
        "import io, sys\nout = sys.stdout\nsys.stdout = io.StringIO()\nprint('a')\n"
        "out.write(sys.stdout.getvalue())\nout.write('b\\n')"
    ),
    "closed output": Form(
        "import sys\nprint('a')\nprint('b')\nsys.stdout.flush()\nsys.stdout.close()"
    ),
    "generator": Form("def g():\n    yield 'a'\n    yield 'b'\nprint(*g(), sep='\\n')"),
    "asyncio": Form(
        "import asyncio\nasync def f():\n    print('a')\n    print('b')\nasyncio.run(f())"
    ),
    "dataclass": Form(
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
        "print(P(1))\nprint(P(2))"
    ),
    "future import": Form("from __future__ import annotations\nprint('a')\nprint('b')"),
    "name": Form("print(__name__)\nprint('b')"),
    "solve": Form(SOLVE, "7\n", "solve"),
    "solve that calls itself": Form(SOLVE + "solve()\n", "7\n", "solve", True),
    "solve behind a guard": Form(
        SOLVE + "if __name__ == '__main__':\n    solve()\n", "7\n", "solve", True
    ),
    "solve in main": Form(SOLVE + "def main():\n    solve()\nmain()\n", "7\n", "solve", True),
    "solve in a main that nobody calls": Form(SOLVE + "def main():\n    solve()\n", "7\n", "solve"),
    "solve in a thread": Form(
        SOLVE + "import threading\nt = threading.Thread(target=solve)\nt.start()\nt.join()\n",
        "7\n",
        "solve",
        True,
    ),
    "solve per case": Form(
        SOLVE + "for _ in range(int(input())):\n    solve()\n", "2\n3\n4\n", "solve", True
    ),
    "solve of a class": Form(
        SOLVE + "class Main:\n    def go(self):\n        solve()\nMain().go()\n",
        "7\n",
        "solve",
        True,
    ),
    "solve by another name": Form(SOLVE + "main = solve\nmain()\n", "7\n", "solve", True),
    "solve decorated afterwards": Form(
        SOLVE + "import functools\nsolve = functools.lru_cache(solve)\n", "7\n", "solve"
    ),
    "solve that exits": Form(
        "import sys\ndef solve():\n    print('a')\n    print('b')\n    sys.exit()\n", "", "solve"
    ),
    "solve that exits with a text": Form(
        "import sys\ndef solve():\n    print('a')\n    print('b')\n    sys.exit('0')\n", "", "solve"
    ),
    "solve that returns": Form(
        "def solve():\n    print('a')\n    print('b')\n    return 'x'", "", "solve"
    ),
    "solve that fails": Form(
        "def solve():\n    print('a')\n    print('b')\n    return 1 / 0", "", "solve"
    ),
    "solve that is missing": Form("print('a')\nprint('b')\n", "", "solve"),
    "solve that prints nothing": Form("def solve():\n    input()\nsolve()\n", "7\n", "solve", True),
}


HERE = Path(__file__).parent
MORE = runpy.run_path(str(HERE / "read_forms.py"))["read_forms"](HERE / "forms" / "stdio.txt")
for NAME, TEXTS in MORE.items():
    assert NAME not in FORMS
    [SOURCE] = TEXTS["program"]
    FORMS[NAME] = Form(
        SOURCE,
        "".join(map(eval, TEXTS["stdin"])),
        "".join(TEXTS["function"]) or None,
        "yes" in TEXTS["calls it"],
    )


def variants(printed: str) -> Iterator[str]:
    """Yield expected outputs, near what was printed; some of them are other outputs."""
    yield printed
    yield printed.replace("\n", "\r\n")
    yield printed.rstrip("\n")
    yield printed.replace("\n", " \t\n") + "\n \n"
    yield printed.replace("\n", "\n\n", 1)
    yield printed.replace("\n", "\x0c")
    yield printed.replace("\n", "\x85", 1)
    yield printed.replace("\n", "\u2028", 1)
    yield printed.replace("\n", "\r", 1)
    yield printed.swapcase()
    yield " " + printed
    yield "\n" + printed
    yield printed + "more"
    yield "\n".join(printed.split("\n")[1:])
    yield printed.replace(" ", "  ", 1)
    yield printed.replace("\\xff", "\xff").replace("\xe9", "e\u0301", 1)
    yield ""


def normal(output: bytes) -> bytes:
    return re.sub(rb"[ \t\r\v\f]+(?=\n|\Z)", b"", output).rstrip(b"\n")


def run_plainly(form: Form, folder: Path) -> tuple[int, bytes]:
    """Run a form as anybody would, and return its status and what it printed."""
    call = "" if form.entry_point is None or form.calls_it else f"\n{form.entry_point}()\n"
    file = folder / "program.py"
    file.write_text(form.program + call, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, file],
        cwd=folder,
        input=form.stdin.encode(),
        capture_output=True,
        timeout=60,
        check=False,
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "TZ": "UTC"},
    )
    return ran.returncode, ran.stdout


@pytest.mark.parametrize("name", FORMS)
def test_a_verdict_is_what_plain_python_prints(
    judge: Callable[[Scorer, Problem, str], Score], tmp_path: Path, name: str
) -> None:
    form = FORMS[name]
    status, printed = run_plainly(form, tmp_path)
    turn = list(FORMS).index(name)
    expected = dict.fromkeys(
        variant
        for number, variant in enumerate(variants(printed.decode("utf-8", "backslashreplace")))
        if number < 3 or (number + turn) % 3 == 0
    )
    problem = Problem(
        task_id=name,
        description="",
        entry_point=form.entry_point,
        visible_tests=[StdioTest(form.stdin, each) for each in expected],
        scorer="stdio",
    )

    score = judge(StdioScorer(StdioOptions()), problem, form.program)

    for wanted, result in zip(expected, score.results, strict=True):
        right = status == 0 and normal(printed) == normal(wanted.encode("utf-8", "surrogatepass"))
        assert (result.status is TestStatus.PASSED) == right, (wanted, printed, result)


def test_there_are_enough_forms_of_both_kinds() -> None:
    assert len(FORMS) >= 180
    assert sum(form.entry_point is not None for form in FORMS.values()) >= 15
