# call: f([1, 2, 0, 4])
def share(total, part):
    return total / part


def f(parts):
    total = 12
    shares = []
    for part in parts:
        shares.append(share(total, part))
    return shares
