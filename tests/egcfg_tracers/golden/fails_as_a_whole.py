# stdin: 0\n
def invert(x):
    return 1 / x


value = int(input())
print("inverse", invert(value))
