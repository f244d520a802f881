"""``python -m harness``."""

import os
import signal

INTERRUPTED = 130
# nohup, and shells that start a program in the background, have one of them ignored.
ENDERS = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]

# The imports take a second or two. Nothing is started yet: Ctrl-C just ends the program, without a traceback.
for number in ENDERS:
    signal.signal(number, lambda *_: os._exit(INTERRUPTED))

# Runs, keys, logs and sockets are the user's alone: whatever this program and what it starts write, others cannot read.
os.umask(0o077)

from harness.model import interpreter  # noqa: E402

interpreter.require()
try:
    from harness.cli.main import main
except ImportError as error:
    interpreter.refuse_without(error)

if __name__ == "__main__":
    for number in ENDERS:
        signal.signal(number, signal.default_int_handler)  # KeyboardInterrupt, for each of them
    raise SystemExit(main())
