# call: f(["1", "x", None])
def f(items):
    good = []
    for item in items:
        try:
            good.append(int(item))
        except ValueError:
            good.append(-1)
        except TypeError as error:
            good.append(str(type(error).__name__))
        else:
            good.append("ok")
        finally:
            last = item
    return good
