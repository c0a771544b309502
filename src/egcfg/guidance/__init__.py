"""The built-in guidance rules: pure functions of two next-token distributions, a module each."""
