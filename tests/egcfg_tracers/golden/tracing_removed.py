# call: f(3)
import sys


def f(n):
    before = n
    sys.settrace(None)
    after = g(n)
    return after


def g(n):
    return n + 1
