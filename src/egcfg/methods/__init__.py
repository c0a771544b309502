"""The built-in methods, a module each: ways to turn a task into a program."""
