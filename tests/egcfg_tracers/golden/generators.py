# call: pairs(2)
def count(start, n):
    for i in range(start, start + n):
        got = yield i
    return "done"


def both(n):
    result = yield from count(20, n)
    yield result


def pairs(n):
    first, second = count(0, n), count(10, n)
    found = [next(first), next(second), next(first), next(second)]
    closed = both(n)
    found.append(next(closed))
    closed.close()
    thrown = count(30, n)
    next(thrown)
    try:
        thrown.throw(KeyError("no"))
    except KeyError as error:
        found.append(error.args[0])
    return found + list(both(n))
