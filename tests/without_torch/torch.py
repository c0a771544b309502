"""Stands before torch on the path of ``make test-fast``, child processes included."""

raise ModuleNotFoundError("No module named 'torch' (make test-fast goes without)", name="torch")
