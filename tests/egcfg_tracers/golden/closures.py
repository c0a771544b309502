# call: f(2)
def f(n):
    total = 0

    def add(x):
        nonlocal total
        total += x
        return total

    add(n)
    double = lambda x: 2 * x
    return add(double(n))
