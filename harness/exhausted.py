"""What has run out here when a connection cannot be made: an error of ours, which says nothing about the other side.

Without a descriptor, a local port or memory nobody can be asked. A refusal in the records would be the service's fault
then, and a probe's 0 a proof of something that never was.
"""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import suppress

from harness.errors import Exhausted

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
    """What ran out by this error, by those that it was raised from or by one of its group; None when nothing did."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in SUBTYPES:
            return SUBTYPES[one.errno]
    return None


def ensure_theirs(error: BaseException) -> None:
    """Raise Exhausted where the error is one of ours; one of the other side's is left to the caller."""
    if (what := subtype(error)) is not None:
        raise Exhausted(what, WORDS[what]) from error


def raise_open_files() -> str:
    """Allow this process as many open files as it may allow itself; what was changed, or "" when nothing was."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return ""
    with suppress(ValueError, OSError):  # where «no limit» cannot be had
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    now, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"open files: the soft limit was {soft}, now it is {now}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and all that it comes from, each once."""
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
