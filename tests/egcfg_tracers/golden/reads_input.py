# stdin: 3\n4\n
numbers = []
for _ in range(2):
    numbers.append(int(input()))


def add(a, b):
    c = a + b
    return c


print(add(*numbers))
