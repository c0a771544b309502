# call: f(3)
import builtins
import functools
import sys

restore = functools.partial(vars(builtins).update, dict(vars(builtins)))


def lie(*args):
    raise RuntimeError("never run by the tracer")


def f(n):
    sys.settrace = sys.gettrace = sys.setrecursionlimit = lie
    builtins.repr = builtins.len = builtins.type = builtins.isinstance = lie
    builtins.sorted = builtins.map = builtins.any = lie
    numbers = [n, n + 1]
    both = {"x": numbers, "y": {3, 1}}
    numbers.append(both)
    restore()
    return n
