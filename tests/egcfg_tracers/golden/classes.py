# call: run(3)
class Shape:
    sides = 0

    def __init__(self, size):
        self.size = size

    @property
    def area(self):
        return self.size**2

    def __repr__(self):
        raise RuntimeError("never run by the tracer")

    __eq__ = __repr__
    __hash__ = __repr__


class Square(Shape):
    __slots__ = ("colour",)
    sides = 4


def run(size):
    square = Square(size)
    square.colour = "red"
    square.size += 1
    return square.area * square.sides
