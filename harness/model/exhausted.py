"""Local resource exhaustion: no file descriptor, port or memory for a connection.

Such an error says nothing about the service. Recorded as a refusal it would be blamed on the service, and a probe's 0
would be false evidence.
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import suppress

from harness.model.errors import Exhausted

#: Subtypes of ``not_sent``, by the kernel's error.
SUBTYPES = {
    errno.EMFILE: "no_descriptor",
    errno.ENFILE: "no_descriptor",
    errno.EADDRNOTAVAIL: "no_port",
    errno.ENOMEM: "no_memory",
    errno.ENOBUFS: "no_memory",
}
WORDS = {
    "no_descriptor": "no file descriptor was left (`ulimit -Hn` limits them)",
    "no_port": "no local port was left",
    "no_memory": "the kernel had no memory for a connection",
}


def subtype(error: BaseException) -> str | None:
    """The exhausted resource, as a subtype, of the error, its causes and the members of its group; None without one."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in SUBTYPES:
            return SUBTYPES[one.errno]
    return None


def raise_if_local(error: BaseException) -> None:
    """Raise Exhausted if a local resource was exhausted; return otherwise."""
    if (what := subtype(error)) is not None:
        raise Exhausted(what, WORDS[what]) from error


def raise_open_files_limit() -> str:
    """Raise the soft limit of open files to the hard one; a sentence about the change, "" without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return ""
    with suppress(ValueError, OSError):  # the kernel refuses «unlimited»
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    now, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"open files: the soft limit was {soft}, now it is {now}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes and the members of its groups, each once."""
    todo, seen = [error], set[int]()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [cause for cause in (one.__cause__, one.__context__) if cause is not None]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions
