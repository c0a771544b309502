# call: f(3)
import sys


def f(n):
    sys.settrace(None)
    return g(n)


def g(n):
    wrong = n - 3
    return n / wrong
