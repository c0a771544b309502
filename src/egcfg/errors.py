"""Every exception that egcfg raises on purpose.

```
EgcfgError
├── UsageError                what was asked cannot be done as asked (CLI exit status 2)
│   ├── UnknownNameError      a name that nothing is registered under, with suggestions
│   ├── ConfigError           a setting with a wrong value, key or source
│   ├── DataError             a problem file that cannot be read: file, line, field
│   ├── MissingExtraError     an optional dependency that is not installed
│   ├── CapabilityError       the model or its backend lacks what was asked of it
│   └── PluginError           a plugin that was selected is broken
├── BackendError              the model could not answer
│   └── ContextOverflowError  the prompt does not fit the model's context
├── BudgetError               the work came to the end of a budget (CLI exit status 3)
│   └── TaskBudgetError       one task did: its last attempt stands
├── RunStoppedError           an observer asked a run to stop (CLI exit status 3)
├── SandboxError              the sandbox itself failed; never the judged program's fault
├── ClusterError              a Ray cluster that is not there, or that no node of can take part
└── RunError                  a results folder that cannot be used as asked
```

Every message ends in what the user can do next. Problems of *judged programs* are no exceptions:
they are outcomes (`egcfg.sandbox.Outcome`) and test statuses
(`egcfg.interfaces.scorer.TestStatus`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from egcfg.interfaces.usage import Usage

__all__ = [
    "BackendError",
    "BudgetError",
    "CapabilityError",
    "ClusterError",
    "ConfigError",
    "ContextOverflowError",
    "DataError",
    "EgcfgError",
    "MissingExtraError",
    "PluginError",
    "RunError",
    "RunStoppedError",
    "SandboxError",
    "TaskBudgetError",
    "UnknownNameError",
    "UsageError",
    "closest",
    "did_you_mean",
    "limit_reached",
    "summarize",
]

LONGEST_SUMMARY = 240


class EgcfgError(Exception):
    """Base of every error that egcfg raises on purpose; each passes between processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Not as usual, by the constructor: some of them make their message there.
        return BaseException.__new__, (type(self), *self.args), self.__dict__


class UsageError(EgcfgError):
    """What was asked cannot be done as asked; the message says what to change."""


class UnknownNameError(UsageError):
    """A name that nothing is registered under.

    Attributes:
        kind: what was looked for, such as ``"tracer"`` or ``"setting"``.
        name: the name that was asked for.
        known: the names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(f"no {kind} named {name!r}{did_you_mean(name, self.known)}")


class ConfigError(UsageError):
    """A setting with a wrong value, key or source."""


class DataError(UsageError):
    """A problem file that cannot be read; the message names file, line and field."""


class MissingExtraError(UsageError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class CapabilityError(UsageError):
    """The model or its backend lacks what was asked of it; the message says what to choose."""


class PluginError(UsageError):
    """A plugin that was selected is broken; ``__cause__`` holds its own exception."""


class BackendError(EgcfgError):
    """The model could not answer.

    Attributes:
        usage: what was spent on it all the same, such as requests; None: nothing. A backend may
            set it on any exception that leaves it, cancellation included.
    """

    usage: Usage | None = None


class ContextOverflowError(BackendError):
    """The prompt does not fit the model's context.

    Attributes:
        needed: tokens that the prompt (and the room kept for the answer) takes; None: not told.
        available: tokens that the model's context holds; None: not told.
    """

    def __init__(self, needed: int | None = None, available: int | None = None) -> None:
        self.needed = needed
        self.available = available
        what = f"needs {needed} tokens" if needed else "is too long"
        limit = f", the model's context holds {available}" if available else ""
        super().__init__(
            f"the prompt {what}{limit or ' for the model'}; "
            "shorten the problem or use a model with a longer context"
        )


class BudgetError(EgcfgError):
    """The work came to the end of a budget; nothing is wrong with it.

    Attributes:
        flag: the flag that sets the limit, such as ``"--max-requests"``.
    """

    def __init__(self, reached: str, flag: str) -> None:
        self.flag = flag
        super().__init__(f"{reached}; run again with a larger {flag} to go on")


class TaskBudgetError(BudgetError):
    """A task's own budget is used up: the method's last attempt stands."""


class RunStoppedError(EgcfgError):
    """An observer asked a run to stop; nothing is wrong with it."""


class SandboxError(EgcfgError):
    """The sandbox itself failed: no statement about the program that it was to run."""


class ClusterError(EgcfgError):
    """A cluster that is not there, or none of whose nodes can take part."""


class RunError(EgcfgError):
    """A results folder that cannot be used as asked."""


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` is a slip of; None: it is like none."""
    import difflib  # start-up does without it

    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the tail of an error message: the closest known name, or some of them."""
    names = sorted(known)
    close = closest(name, names)
    if close is not None:
        return f"; did you mean {close!r}?"
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return f"; choose from: {', '.join(names[:20])}{more}" if names else ""


def summarize(error: BaseException) -> str:
    """Return an exception in one line of bounded length: its class and its message."""
    text = " ".join(str(error).split())
    if len(text) > LONGEST_SUMMARY:
        text = text[:LONGEST_SUMMARY].rpartition(" ")[0] + " ..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def limit_reached(error: BaseException) -> str | None:
    """Return which limit of the system an error means, and what to do; None for other errors."""
    import errno
    import resource

    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EMFILE:
        what, command, limit = "open files", "ulimit -n", resource.RLIMIT_NOFILE
    elif number == errno.EAGAIN or "can't start new thread" in str(error):
        what, command, limit = "processes", "ulimit -u", resource.RLIMIT_NPROC
    else:
        return None
    now = resource.getrlimit(limit)[0]
    return f"the limit of {what} is reached ({command}, now {now}): raise it"
