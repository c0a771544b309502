# call: f(10)
def f(n):
    total = 12
    total *= n
