"""The half of the sandbox that runs inside it: imports the standard library only.

The fork server loads this package by its path, under another name and without site-packages, so it
uses relative imports among itself and nothing else of egcfg. The parent imports `codec` and
`frames` from here, so that both ends speak the same bytes.

Three kinds of process come from it:

- the *server* (`server`) forks on request and reaps; it never reads a program;
- a *supervisor* (`supervisor`), forked for each execution, watches its limits and collects what
  came of it; it never runs a line of the program;
- the *program's process* (`program`, or `judge` for a trusted test) is the supervisor's only child.
"""
