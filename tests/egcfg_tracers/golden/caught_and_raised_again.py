# call: outer({})
def inner(table):
    key = "missing"
    return table[key]


def outer(table):
    try:
        return inner(table)
    except KeyError as error:
        tries = 1
        raise ValueError(f"no {error.args[0]}") from error
    finally:
        tries = 2
