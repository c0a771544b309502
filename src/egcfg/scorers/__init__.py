"""The built-in judges of solutions."""
