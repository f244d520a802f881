"""``python -m harness.load RUNFOLDER``: produce the load of RUNFOLDER/load.json until SIGTERM or SIGINT.

It also ends when its parent has gone, and when the lease (``--lease``, harness/model/lease.py) lapses: the harness is
stopped.

Writes RUNFOLDER/requests.parquet and load-summary.json, prints a line of JSON on stdout every half second, and a last
one with ``failed`` where the exit code is not 0. Exit codes: 0 the load was stopped as it should be; 64 load.json is
wrong, nothing was sent; 70 the generator broke (traceback on stderr; what was recorded is written all the same); 74 its
records could not be written.
"""

from __future__ import annotations

import signal
from types import FrameType

_stopped_early = False


def _note(number: int, frame: FrameType | None) -> None:
    global _stopped_early
    _stopped_early = True


# The imports below take a second or two: a stop that comes meanwhile must not be lost, nor kill us half-way.
signal.signal(signal.SIGTERM, _note)
signal.signal(signal.SIGINT, _note)

import locust  # noqa: E402, F401, I001 - patches the standard library for gevent: before anything else

import argparse  # noqa: E402
import contextlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402
from gevent.event import Event  # noqa: E402

from harness.model import exhausted, redact  # noqa: E402
from harness.model.errors import DrillyardError, RecordError  # noqa: E402
from harness.load.job import read_job  # noqa: E402
from harness.load.runner import LoadFailed, Master, run_alone, run_worker  # noqa: E402
from harness.evidence.record import storage_failure  # noqa: E402

UNWRITTEN = 74  # EX_IOERR of sysexits.h


def main() -> int:
    """Run until stopped; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m harness.load", description="Produce the load of a run folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--master-port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--lease", type=int, help="file descriptor of a pipe: the load ends when it is silent for 6 s")
    arguments = parser.parse_args()
    redact.learn_environment(os.environ)
    sys.stderr = redact.Stream(sys.stderr)
    if raised := exhausted.raise_open_files_limit():
        print(raised, file=sys.stderr)
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    if _stopped_early:
        stop.set()
    try:
        job = read_job(arguments.folder)
        if arguments.worker is not None:
            run_worker(job, arguments.worker, arguments.master_port, stop)
        elif job.load.workers > 1:
            Master(job).run(stop, arguments.lease)
        else:
            run_alone(job, stop, arguments.lease)
    except RecordError as error:
        return _failed(str(error), str(error), UNWRITTEN)
    except LoadFailed as error:
        return _failed(traceback.format_exc(), str(error), 70)
    except DrillyardError as error:
        return _failed(str(error), str(error), error.exit_code)
    except Exception as error:
        if (unwritten := storage_failure(error)) is not None:
            return _failed(str(unwritten), str(unwritten), UNWRITTEN)
        return _failed(traceback.format_exc(), f"the load generator broke ({type(error).__name__})", 70)
    return 0


def _failed(text: str, sentence: str, status: int) -> int:
    """Report to the log and, over stdout, to the harness, which also works on a full disk; the exit code."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), (json.dumps({"failed": redact.text(sentence)}) + "\n").encode())
    return status


if __name__ == "__main__":
    sys.exit(main())
