# call: f([3, 1, 2])
def f(xs):
    squares = [x * x for x in xs]
    odd = {x for x in xs if x % 2}
    index = {x: i for i, x in enumerate(xs)}
    return sum(x for x in squares), odd, index
