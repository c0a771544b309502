"""Programs whose traces are held against what plain Python does, each with a call."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PROGRAMS"]

PROGRAMS = {
    "table beyond twenty items": (
        """
def f(n):
    dp = [0] * (n + 1)
    dp[0] = 1
    for coin in (1, 5, 12):
        for total in range(coin, n + 1):
            dp[total] += dp[total - coin]
    return dp[n]
""",
        "f(40)",
    ),
    "grid beyond its text": (
        """
def f(n):
    grid = [[0] * n for _ in range(n)]
    for i in range(n):
        for j in range(n):
            grid[i][j] = i * j
    grid[n - 1][n - 1] = -1
    del grid[0]
    return sum(map(sum, grid))
""",
        "f(9)",
    ),
    "sieve": (
        """
def f(n):
    prime = [True] * n
    for i in range(2, n):
        if prime[i]:
            for j in range(i * i, n, i):
                prime[j] = False
    return [i for i in range(2, n) if prime[i]]
""",
        "f(50)",
    ),
    "long text": (
        """
def f(n):
    text = "a" * n
    text = text[:150] + "b" + text[151:]
    text = text + "cd"
    text = text[:-1]
    text = text[1:]
    data = bytes(n)
    data = data[:170] + b"x" + data[171:]
    return text.count("a"), len(data)
""",
        "f(200)",
    ),
    "sets and dicts": (
        """
def f(n):
    seen, count = set(), {}
    for i in range(n):
        seen.add(i * 7 % n)
        count[i % 25] = count.get(i % 25, 0) + i
    seen.remove(n - 1)
    del count[24]
    count[3], count[24] = 0, 1
    return len(seen), sum(count.values())
""",
        "f(60)",
    ),
    "deep": (
        """
def f(n):
    deep = [[[[[[[n]]]]]]]
    deep[0][0][0][0][0][0][0] = 9
    deep[0][0][0][0][0][0].append({"k": [1]})
    deep[0][0][0][0][0][0][1]["k"][0] = 2
    return deep
""",
        "f(1)",
    ),
    "queues": (
        """
from collections import deque, defaultdict

def f(n):
    queue, before = deque([(0, 0)]), defaultdict(list)
    while queue:
        at, steps = queue.popleft()
        for to in (2 * at + 1, 2 * at + 2):
            if to < n:
                queue.append((to, steps + 1))
                before[to].append(at)
    return len(before)
""",
        "f(70)",
    ),
    "objects": (
        """
class Node:
    def __init__(self, value, next=None):
        self.value = value
        self.next = next

    def __repr__(self):
        return f"Node({self.value}, {self.next})"

def f(n):
    head = None
    for i in range(n):
        head = Node(i, head)
    at = head
    while at.next:
        at.value *= 2
        at = at.next
    at.value = "end"
    return head.value
""",
        "f(30)",
    ),
    "helpers and failures": (
        """
def share(total, parts):
    return total // parts

def f(n):
    found = []
    for i in range(n):
        try:
            found.append(share(n, i - 2))
        except ZeroDivisionError:
            found.append(None)
    return share(found[0], n - n)
""",
        "f(4)",
    ),
    "generators": (
        """
def count(n):
    total = 0
    while total < n:
        yield total
        total += 2

def f(n):
    first = next(count(n))
    rest = list(count(n))
    return first, rest, [x * y for x in rest for y in rest if x != y]
""",
        "f(5)",
    ),
    "chain": (
        """
class Stack:
    def __init__(self):
        self.items = []
    def __repr__(self):
        return f"Stack({self.items})"
    def push(self, x):
        self.items = [*self.items, x]
        return self
    def top(self):
        return self.items[-1]
""",
        "Stack().push(1).push(2).top()",
    ),
    # Started and joined on one line: what each line sees of the thread's work is decided.
    "threads": (
        """
import threading

def work(name, done):
    twice = name * 2
    done.append(twice)

def f(n):
    done = []
    for i in range(n):
        worker = threading.Thread(target=work, args=(i, done))
        worker.start(), worker.join()
    return done
""",
        "f(2)",
    ),
}


GOLDEN = Path(__file__).with_name("golden")
NOT_COMPARED = {
    "deep_recursion": "the recorder has no stack left for it",
    "ends_early": "it has no call, and the recorder sees functions only",
    "fails_as_a_whole": "the same",
    "filtering": "the same",
    "reads_input": "the same",
    "leaves_by_itself": "it would end the tests' process",
    "monkeypatched": "it would spoil the tests' process",
    "patched_sys": "the same",
    "sleeps_for_ever": "only a limit ends it",
    "syntax_error": "nothing of it runs",
    "wrong_name": "the same",
    "threads": "what a line sees of the thread's work is a matter of time; there is one above",
    "tracing_removed": "it takes the recorder away, too",
    "tracing_removed_then_error": "the same",
}
"""Programs with golden traces that plain Python is not asked about, each with the reason."""


def golden_program(path: Path) -> tuple[str, str]:
    """Return source and call."""
    source = path.read_text("utf-8")
    return source, source.partition("\n")[0].removeprefix("# call: ")


PROGRAMS |= {
    f"golden {path.stem}": golden_program(path)
    for path in sorted(GOLDEN.glob("*.program"))
    if path.stem not in NOT_COMPARED
}
