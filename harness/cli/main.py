"""The command line: ``python -m harness COMMAND``, one of those that ``--help`` lists.

Exit codes: 0 PASS · 1 FAIL · 2 INCONCLUSIVE · 3 a night in which something became worse · 64 wrong usage or
configuration · 70 a bug in the harness · 130 interrupted. ``make`` is the short way, but ends with 2 whatever went
wrong: CI calls this program itself.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import pkgutil
import signal
import ssl
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TextIO

from harness import cli
from harness.evidence.record import storage_failure
from harness.model import exhausted, redact
from harness.model.errors import DrillyardError, Interrupted, UsageError
from stack import proxies


def commands() -> dict[str, ModuleType]:
    """The commands by name, in the order of ``--help``: each module of this folder that has a HELP, named as its file.

    It has an ORDER, ``add(parser, environment)`` for its options and ``do(options, given)``, which ends with the exit
    code; ``given`` is the whole command line.
    """
    modules = [importlib.import_module(f"{cli.__name__}.{found.name}") for found in pkgutil.iter_modules(cli.__path__)]
    ordered = sorted((one for one in modules if hasattr(one, "HELP")), key=lambda module: int(module.ORDER))
    return {module.__name__.rpartition(".")[2].replace("_", "-"): module for module in ordered}


#: Imported at once: what is missing is told before any work.
COMMANDS = commands()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. Errors for people are one line on stderr, never a traceback, nothing a secret."""
    redact.learn_environment(os.environ)
    exhausted.raise_open_files_limit()
    proxies.exclude_loopback(os.environ)
    out, err = redact.Stream(sys.stdout), redact.Stream(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = _main(list(sys.argv[1:] if arguments is None else arguments))
    _flush(sys.stdout)
    _flush(sys.stderr)
    return code


def _flush(stream: TextIO) -> None:
    """What cannot be shown (a full disk, a closed pipe) is given up: at its end Python would make the exit code 120."""
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        stream.flush()


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the exit code tells the same
        print(f"drillyard: {text}", file=sys.stderr)


def _main(given: list[str]) -> int:
    try:
        _require_key_log(os.environ.get("SSLKEYLOGFILE"))
        options = _parser(os.environ).parse_args(given)
        return int(options.do(options, given))
    except DrillyardError as error:
        _say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return Interrupted.exit_code
    except BrokenPipeError:  # as of other programs that write on: never the exit code of a PASS
        return 128 + signal.SIGPIPE
    except Exception as error:
        if (unwritten := storage_failure(error)) is not None:
            _say(str(unwritten))
            return unwritten.exit_code
        with contextlib.suppress(OSError):
            traceback.print_exc()
        _say("this is a bug in the harness, not in your stack; please report the lines above")
        return 70


def _require_key_log(path: str | None) -> None:
    """UsageError where TLS keys cannot be written: Python opens that file for each client that could speak TLS."""
    try:
        if path:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).keylog_filename = path
    except OSError as error:
        found = error.strerror or error
        raise UsageError(
            f"SSLKEYLOGFILE={path}: found {found}, expected a file that can be written; name one or unset it"
        ) from None


class _Parser(argparse.ArgumentParser):
    """argparse ends with 2, which is INCONCLUSIVE here."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """One line and exit 64."""
        raise UsageError(f"{message}; see `{self.prog} --help`")


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The program's options. What is not typed is what ``environment`` says, else a default."""
    parser = _Parser(prog=".venv/bin/python -m harness", description="Failure drills for LLM APIs served by vLLM.")
    below = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        one = below.add_parser(name, help=command.HELP)
        command.add(one, environment)
        one.set_defaults(do=command.do)
    return parser
