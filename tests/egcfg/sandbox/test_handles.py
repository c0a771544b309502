"""Objects that stay in the program's process: whatever they do, they decide nothing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.scorer import TestResult, TestStatus
from egcfg.sandbox import Sandbox
from egcfg.sandbox.confined.describing import ASKED, REFUSED
from egcfg.scorers.asserts import AssertsScorer
from egcfg.scorers.judged import ScorerOptions

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Verdict = Callable[..., TestResult]


@pytest.fixture
def verdict(run: Run, sandbox: Sandbox) -> Verdict:
    """Judge a program by one test."""

    def judge(program: str, test: str, setup: str = "", **limits: Any) -> TestResult:
        problem = Problem(
            task_id="t",
            description="",
            entry_point="f",
            visible_tests=(),
            hidden_tests=(AssertTest(test),),
            setup_code=setup,
        )
        options = ScorerOptions(**{"cpu_seconds": 1.0, "wall_seconds": 4.0, **limits})
        score = run(AssertsScorer(options).score(problem, program, sandbox))
        result: TestResult = score.results[0]
        return result

    return judge


BINARY = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "matmul": "@",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
    "lshift": "<<",
    "rshift": ">>",
    "and": "&",
    "xor": "^",
    "or": "|",
}
# What each operator is used for, so that one which always agrees would let a test pass.
USES = {
    "__eq__": "assert f(2) == 4 and 4 == f(2) and f(2) in [4] and [f(2)] == [4]",
    "__ne__": "assert not f(2) != 4",
    "__lt__": "assert f(2) < 4 and sorted([f(2), f(3)])",
    "__le__": "assert f(2) <= 4",
    "__gt__": "assert f(2) > 4 and 4 < f(2)",
    "__ge__": "assert f(2) >= 4",
    "__contains__": "assert 4 in f(2)",
    "__bool__": "assert f(2)",
    "__len__": "assert f(2)",
    "__hash__": "assert {4: True}[f(2)]",
    "__neg__": "assert -f(2) == -4",
    "__pos__": "assert +f(2) == 4",
    "__abs__": "assert abs(f(2)) == 4",
    "__invert__": "assert ~f(2) == ~4",
    "__round__": "assert round(f(2)) == 4",
    "__trunc__": "import math\nassert math.trunc(f(2)) == 4",
    "__floor__": "import math\nassert math.floor(f(2)) == 4",
    "__ceil__": "import math\nassert math.ceil(f(2)) == 4",
    "__divmod__": "assert divmod(f(2), 1) == (4, 0)",
    "__rdivmod__": "assert divmod(1, f(2)) == (0, 1)",
    "__int__": "assert int(f(2)) == 4",
    "__float__": "import math\nassert float(f(2)) == 4 and math.isclose(f(2), 4)",
    "__complex__": "assert complex(f(2)) == 4",
    "__index__": "assert range(9)[f(2)] == 4",
    "__str__": "assert str(f(2)) == '4'",
    "__repr__": "assert repr(f(2)) == '4'",
    "__format__": "assert f'{f(2)}' == '4'",
    "__bytes__": "assert bytes(f(2)) == b'4'",
    "__missing__": "assert f(2)['x'] == 4",
    "__iter__": "assert list(f(2)) == [4]",
    "__getitem__": "assert f(2)[0] == 4",
    "__call__": "assert f(2)() == 4",
    "__next__": "assert next(f(2)) == 4",
    "__reversed__": "assert list(reversed(f(2))) == [4]",
    "__getattr__": "assert f(2).value == 4",
    "__enter__": "with f(2) as v: assert v == 4",
    "__fspath__": "import os\nassert os.fspath(f(2)) == '4'",
    "__dir__": "assert dir(f(2)) == ['4']",
    "__instancecheck__": "assert isinstance(4, f(2))",
    "__isub__": "v = f(2)\nv -= 4\nassert abs(v) < 1e-6",
    **{f"__{name}__": f"assert (f(2) {sign} 1) == 4" for name, sign in BINARY.items()},
    **{f"__r{name}__": f"assert (1 {sign} f(2)) == 4" for name, sign in BINARY.items()},
    **{
        f"__i{name}__": f"v = f(2)\nv {sign}= 1\nassert v == 4"
        for name, sign in BINARY.items()
        if name != "sub"
    },
}
VALUES = {
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "contains", "bool"), "True"),
    "ne": "False",
    "len": "1",
    "hash": "hash(4)",
    "instancecheck": "True",
}


@pytest.mark.parametrize("name", sorted(USES))
def test_no_operator_that_agrees_lets_a_test_pass(verdict: Verdict, name: str) -> None:
    value = VALUES.get(name.strip("_"), "A()")
    program = (
        "class A:\n"
        "    def __eq__(self, other): return True\n"
        "    def __sub__(self, other): return 0\n"
        "    __hash__ = object.__hash__\n"
        f"    def {name}(self, *_): return {value}\n"
        "def f(x): return A()\n"
    )
    assert verdict(program, USES[name]).status is not TestStatus.PASSED


@pytest.mark.parametrize("base", ["int", "str", "list", "tuple", "dict", "float", "Exception"])
@pytest.mark.parametrize("name", ["__eq__", "__lt__", "__contains__", "__bool__", "__sub__"])
def test_no_operator_of_a_builtins_subclass_lets_a_test_pass(
    verdict: Verdict, base: str, name: str
) -> None:
    program = (
        f"class A({base}):\n"
        f"    def {name}(self, *_): return {'0' if name == '__sub__' else 'True'}\n"
        f"    __hash__ = {base}.__hash__\n"
        "def f(x): return A()\n"
    )
    use = "assert abs(f(2) - 4) < 1e-6" if name == "__sub__" else USES[name]
    assert verdict(program, use).status is not TestStatus.PASSED


def test_every_special_method_has_a_use_here() -> None:
    unused = {"__setitem__", "__delitem__", "__exit__", "__idivmod__"}
    assert (ASKED | REFUSED) - USES.keys() <= unused | {n for n in ASKED if n.startswith("__a")} | {
        "__await__"
    }


LIES = {
    "a class whose own class says it is another": (
        "class M(type):\n    __class__ = int\nclass A(metaclass=M): pass\ndef f(x): return A",
        "assert type(f(2)) is int",
    ),
    "a base that every class is derived from": (
        "from abc import ABC\nclass A(ABC):\n    @classmethod\n"
        "    def __subclasshook__(cls, other): return True\ndef f(x): return A",
        "assert isinstance('x', f(2))",
    ),
    "a base that was told of all classes": (
        "from abc import ABC\nclass A(ABC): pass\nA.register(object)\ndef f(x): return A",
        "assert isinstance('x', f(2))",
    ),
    "an array that holds all numbers": (
        "import array, itertools\nclass A(array.array):\n"
        "    def __iter__(self): return itertools.count()\ndef f(x): return A('i')",
        "assert 4 in f(2)",
    ),
    "an equal of the test's literal": ("def f(x): return 'ye' + 's'", "assert f(2) is 'yes'"),
    "a class that says it is another": (
        "class A:\n    __class__ = int\n    __eq__ = lambda s, o: True\ndef f(x): return A()",
        "assert isinstance(f(2), int) and f(2) == 4",
    ),
    "a class that says it is the library's": (
        "class A:\n    __module__ = 'builtins'\n    __qualname__ = 'int'\n"
        "    __eq__ = lambda s, o: True\ndef f(x): return A()",
        "assert f(2) == 4",
    ),
    "a metaclass that agrees": (
        "class M(type):\n    __eq__ = lambda c, o: True\n    __hash__ = type.__hash__\n"
        "    __instancecheck__ = lambda c, o: True\nclass A(metaclass=M): pass\n"
        "def f(x): return A",
        "assert f(2) == 4 or isinstance(4, f(2)) or f(2) is int",
    ),
    "the method by its name": (
        "class A:\n    def __eq__(self, o): return True\ndef f(x): return A()",
        "assert f(2).__eq__(4)",
    ),
    "an attribute that agrees": (
        "class E:\n    def __eq__(self, o): return True\n"
        "class A:\n    def __getattr__(self, n): return E()\ndef f(x): return A()",
        "assert f(2).value == 4",
    ),
    "inside of plain values": (
        "class A:\n    def __eq__(self, o): return True\n    __hash__ = None\n"
        "def f(x): return {'k': [(A(),)]}",
        "assert f(2) == {'k': [(4,)]}",
    ),
    "a dataclass with an equality of its own": (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    v: int\n"
        "    def __eq__(self, o): return True\ndef f(x): return A(0)",
        "assert f(2) == A(4)",
    ),
    "a dataclass that copies what it is compared with": (
        "from dataclasses import dataclass\nlast = []\n@dataclass\nclass A:\n    v: int\n"
        "    def __post_init__(self):\n"
        "        for o in last: o.v = self.v\n        last.append(self)\n"
        "def f(x): return A(0)",
        "assert f(2) == A(4)",
    ),
    "a named tuple with an equality of its own": (
        "from typing import NamedTuple\nclass A(NamedTuple):\n    v: int\n"
        "    def __eq__(self, o): return True\ndef f(x): return A(0)",
        "assert f(2) == (4,)",
    ),
    "a context manager that swallows the assertion": (
        "class f:\n    def __init__(s, x): pass\n    def __enter__(s): return 3\n"
        "    def __exit__(s, *e): return True",
        "with f(2) as v: assert v == 4",
    ),
    "an asynchronous one": (
        "class f:\n    def __init__(s, x): pass\n    async def __aenter__(s): return 3\n"
        "    async def __aexit__(s, *e): return True",
        "import asyncio\nasync def main():\n    async with f(2) as v: assert v == 4\n"
        "asyncio.run(main())",
    ),
    "a caller that swallows the assertion": (
        "def f(g):\n    try: g(3)\n    except BaseException: pass",
        "def probe(v): assert v == 4\nf(probe)",
    ),
    "an argument that is made equal": (
        "def f(x):\n    return x",
        "want = [4]\nassert f([2]) == want",
    ),
    "a patched helper": (
        "import builtins\nbuiltins.abs = lambda v: 0\nbuiltins.sorted = lambda v: [1]\n"
        "def close(a, b): return True\nabs = lambda v: 0\nisinstance = lambda *a: True\n"
        "def f(x): return 5",
        "assert abs(f(2) - 4) < 1e-6 or isinstance(f(2), str) or close(f(2), 4)",
    ),
    "a method of a class of the setup, replaced": (
        "Tree.same = lambda s, o: True\ndef f(x):\n    t = Tree(x)\n    return t",
        "assert f(2).same(Tree(4))",
    ),
    "a method of an object of the setup, replaced": (
        "def f(x):\n    t = Tree(x)\n    t.same = lambda o: True\n    return t",
        "assert f(2).same(Tree(4))",
    ),
    "a method of an object of the test, replaced": (
        "def f(r):\n    try: r.verify = lambda: True\n    except AttributeError: pass",
        "class R:\n    got = 0\n    def verify(self): assert self.got == 4\n"
        "r = R()\nf(r)\nr.verify()",
    ),
    "an endless iterator": ("def f(x):\n    while True: yield 4", "assert list(f(2)) == [4]"),
    "a flood of objects": (
        "def f(x): return [object() for _ in range(2 * 10**6)]",
        "assert f(2) == [4]",
    ),
    "a flood of classes": (
        "def f(x): return [type('T', (), {}) for _ in range(30000)]",
        "assert f(2) == [4]",
    ),
    "colliding keys": (
        "def f(x): return {i * (2**61 - 1) for i in range(100000)}",
        "assert f(2) == {4}",
    ),
}
SETUP = (
    "class Tree:\n    def __init__(self, v): self.v = v\n"
    "    def same(self, other): return self.v == other.v\n"
    "def close(a, b): return abs(a - b) < 1e-6\n"
)


@pytest.mark.parametrize("name", LIES)
def test_no_lie_of_an_object_lets_a_test_pass(verdict: Verdict, name: str) -> None:
    program, test = LIES[name]
    assert verdict(program, test, SETUP).status is not TestStatus.PASSED


# Each reaches for what answers the test, from inside a call, and bends it.
REACH = """
import sys
def service():
    frame = sys._getframe()
    while frame:
        for value in frame.f_locals.values():
            if type(value).__name__ == 'Service': return value
        frame = frame.f_back
def sender(s):
    return sys.modules[type(s).__module__]._ProgramSender
def send(answer):
    s = service()
    sys.modules[type(s).__module__].frames.send(s._channel, sender(s)(s).message(answer))
"""
BENT = {
    "numbers that nobody gave": (
        "def f(x):\n    s = service()\n    kind = sender(s)\n"
        "    kind.put_number = lambda o, n: o.write(b'@', (n + 77).to_bytes(8, 'big'))\n"
        "    return [object()]"
    ),
    "the test's own numbers": (
        "def f(x):\n    s = service()\n    kind = sender(s)\n"
        "    kind.put_other = lambda o, v, k, d: o.put_number(1)\n    return object()"
    ),
    "classes that do things": (
        "def f(x):\n    s = service()\n    kind = sender(s)\n"
        "    kind.put_other = lambda o, v, k, d: o.put_global('os', '_exit')\n    return object()"
    ),
    "a class of the judge's": (
        "def f(x):\n    s = service()\n    kind = sender(s)\n"
        "    name = type(s).__module__.partition('.')[0] + '.remote'\n"
        "    kind.put_other = lambda o, v, k, d: o.put_global(name, 'Unsupported')\n"
        "    return object()"
    ),
    "a callback that was not passed": (
        "def f(x):\n    s = service()\n    s.call_back(1, 'getattr', ('__globals__',), {})\n"
    ),
    "an answer of another kind": "def f(x):\n    send(('passed', None))\n",
    "an answer that is no tuple": "def f(x):\n    send({'status': 'passed'})\n",
    "an answer of one part": "def f(x):\n    send(('value',))\n",
    "an answer of many parts": "def f(x):\n    send(('value', 4, (), '', (), (), ()))\n",
    "files elsewhere": "def f(x):\n    send(('value', 4, (), '', (('../x', b'y'),)))\n",
    "released things": "def f(x):\n    send(('value', 5, ([],)))\n",
    "an earlier result that there was none of": "def f(x):\n    send(('again', 0))\n",
    "a result before the first": "def f(x):\n    send(('again', -1))\n",
    "an argument that is no number": "def f(x):\n    send(('argument', 4.0))\n",
}


@pytest.mark.parametrize("name", BENT)
@pytest.mark.parametrize(
    "test", ["assert f(2) == 4", "try:\n    assert f(2) == 4\nexcept (TypeError, KeyError): pass"]
)
def test_no_bent_answer_lets_a_test_pass(verdict: Verdict, name: str, test: str) -> None:
    assert verdict(REACH + BENT[name], test).status is not TestStatus.PASSED


def test_a_test_cannot_be_asked_for_more_than_it_passed(verdict: Verdict) -> None:
    program = (
        REACH + "def f(g):\n    s = service()\n    found = []\n"
        "    for op, given in (('getattr', ('__globals__',)), ('getattr', ('__code__',)),\n"
        "                      ('getattr', ('gi_frame',)), ('__getattribute__', ('x',))):\n"
        "        for n in range(-3, 9):\n"
        "            try: found.append(s.call_back(n, op, given, {}))\n"
        "            except (AttributeError, TypeError): pass\n"
        "    return found or [4]"
    )
    result = verdict(program, "secret = 99\nassert 99 in f(lambda: secret)")
    assert result.status is not TestStatus.PASSED


def test_expected_values_stay_with_the_judge(verdict: Verdict) -> None:
    program = (
        "import gc, sys\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    v: str\n"
        "def f(x=0):\n"
        "    texts = [o.get('v') for o in gc.get_objects() if type(o) is dict]\n"
        "    found = [t for t in texts if type(t) is str and t[:6] == 'SECRET']\n"
        "    return P(found[0]) if found else P('')"
    )
    secret = "want = P('SECRET' + '-1')\nassert f() == want"
    assert verdict(program, secret).status is TestStatus.FAILED
    assert verdict(program.replace("P('')", "P('SECRET-1')"), secret).status is TestStatus.PASSED


def test_helpers_of_given_code_that_breaks_off_are_the_given_ones(
    run: Run, sandbox: Sandbox
) -> None:
    given = "def close(a, b):\n    return abs(a - b) < 1e-6\n\ndef f(x):\n    if x:\n"
    problem = Problem(
        task_id="t",
        description="",
        entry_point="f",
        visible_tests=(),
        hidden_tests=(AssertTest("assert close(f(2), 4)"),),
        given_code=given,
    )
    scorer = AssertsScorer(ScorerOptions())
    for value, passes in ((4, True), (5, False)):
        code = f"{given}        return {value}\n\ndef close(a, b):\n    return True\n"
        assert run(scorer.score(problem, code, sandbox)).passed is passes


def test_too_many_keys_are_the_reason_that_is_told(verdict: Verdict) -> None:
    result = verdict("def f(x): return set(range(200001))", "assert len(f(2)) == 200001")
    assert result.status is TestStatus.UNSUPPORTED
    assert result.error == "more than 200000 keys in sets and dicts"
    assert verdict("def f(x): return set(range(99999))", "assert len(f(2)) == 99999").error is None


def test_keys_of_one_hash_are_judged_as_far_as_they_cost_little(verdict: Verdict) -> None:
    program = "def f(n): return {(2 ** 61 - 1) * i for i in range(n)}"
    assert verdict(program, "assert len(f(1000)) == 1000").error is None
    result = verdict(program, "assert len(f(5000)) == 5000")
    assert result.status is TestStatus.UNSUPPORTED
    assert result.error == "too many keys of the same hash in a set or dict"
    # Keys of the test's own choice cost the program what they cost in CPython.
    test = "assert f({(2 ** 61 - 1) * i for i in range(3000)}) == 3000"
    assert verdict("def f(s): return len(s)", test).error is None


def test_a_program_that_does_not_load_raises_nothing_that_a_test_expects(
    verdict: Verdict,
) -> None:
    test = "try:\n    f(2)\nexcept (ImportError, SyntaxError, NameError): pass\nelse: assert False"
    for program in ("import nowhere\ndef f(x): pass", "def f(x", "oops\ndef f(x): pass"):
        assert verdict(program, test).status is TestStatus.ERROR


REBOUND = {
    "itself": ("    global f\n    f = lambda: 2\n    return 1", "assert f() == 1\nassert f() == 2"),
    "its own name is gone": (
        "    global f\n    del f\n    return 1",
        "assert f() == 1\ntry:\n    f()\nexcept NameError:\n    pass\nelse:\n    assert False",
    ),
    "another function": (
        "    global g\n    g, was = (lambda: 5), g\n    return was",
        "assert g() == 1\nwas = f()\nassert g() == 5 and was() == 1",
    ),
    "a class, before the test is called back": (
        "    global A\n    was = A\n    class A: z = 1\n    h()\n    return was",
        "def h():\n    assert A.z == 1\nassert A.z == 0\nassert f(h) is not A",
    ),
    "numbers": ("    global n\n    n += 1", "assert n == 0\nf()\nassert n == 1"),
}


@pytest.mark.parametrize("name", REBOUND)
def test_a_name_means_what_the_program_binds_it_to_at_that_time(
    verdict: Verdict, name: str
) -> None:
    body, test = REBOUND[name]
    rest = "def g():\n    return 1\nclass A: z = 0\nn = 0\n"
    right = verdict(f"{rest}def f(h=None):\n{body}\n", test)
    assert right.status is TestStatus.PASSED, right.error
    kept = body.replace("    global", "    if False: f = g = A = n = None #")
    assert verdict(f"{rest}def f(h=None):\n{kept}\n", test).status is not TestStatus.PASSED


def test_annotations_are_those_of_the_code_that_has_them(verdict: Verdict) -> None:
    """Tests and their setup are modules of their own: what the judge's postpones stays there."""
    setup = "def given(x: int): ...\n"
    test = "def here(x: 'int' = 0, y: list[int] = ()): ...\n"
    test += "assert given.__annotations__ == {'x': int}\n"
    test += "assert here.__annotations__ == {'x': 'int', 'y': list[int]}\nassert f(2) == 4"
    found = verdict("def f(x):\n    return 2 * x", test, setup)
    assert found.status is TestStatus.PASSED, found.error
