# call: f(3)
import time


def f(n):
    naps = 0
    while True:
        naps += 1
        time.sleep(n * 100)
