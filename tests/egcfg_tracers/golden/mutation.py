# call: f()
def f():
    rows = [[0] * 2 for _ in range(2)]
    alias = rows
    rows[0][1] = 5
    rows.append(rows)
    names = {"b", "a", "c"}
    table = {}
    table["rows"] = rows
    del alias
    names.discard("b")
    return len(table)
