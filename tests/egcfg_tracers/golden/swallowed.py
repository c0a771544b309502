# call: f([3, 0])
import contextlib


class Closing:
    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        self.seen = kind is not None
        return self.seen


def f(parts):
    done = []
    for part in parts:
        with Closing() as closing:
            done.append(12 // part)
        done.append(closing.seen)
    with contextlib.suppress(KeyError):
        {}["x"]
    return done
