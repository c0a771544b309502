"""The half of the sandbox that runs inside it: imports the standard library only.

The fork server loads this package by its path, under another name and without site-packages, so it
uses relative imports among itself and nothing else of egcfg. The parent imports `codec`, `frames`
and what else both ends must agree on from here.

Three kinds of process come from it:

- the *server* (`server`) forks on request and reaps; it never reads a program;
- the *program's process* (`staging`, then `program`, or `judge` for a trusted test), a fork of the
  server that waits for its request; the parent sends that there, and watches the process from
  outside (`egcfg.sandbox.watch`);
- a *keeper* (`keeper`) between the two, only where pid or mount namespaces are missing.
"""
