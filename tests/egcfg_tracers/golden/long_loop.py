# call: f(100)
def f(n):
    seen = []
    for i in range(n):
        if i % 40 == 7:
            seen.append(i)
        for j in range(8):
            last = i * j
    return seen, last
