# call: f(2)
import threading


def work(name, done):
    done.append(name)


def f(n):
    done = []
    for i in range(n):
        worker = threading.Thread(target=work, args=(i, done))
        worker.start()
        worker.join()
    return done
