"""The half of the sandbox that runs inside it: imports the standard library only.

The fork server loads this package by its path, under another name and without site-packages, so its
modules import each other by relative imports, and nothing else of egcfg. The parent imports from
here what both ends must agree on, such as `codec` and `frames`.

Two kinds of process come from it:

- the *server* (`server`) forks on request and reaps; it never reads a program;
- the *program's process* (`staging`, then `program`, or `judge` for a trusted test) is a fork of
  the server; it waits for its request, which the parent sends to it directly, and the parent
  watches it from outside (`egcfg.sandbox.watch`).
"""
