"""``python -m harness``."""

import os
import signal

# The imports take a second or two. Nothing is started yet: Ctrl-C just ends the program, without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

# Runs, keys, logs and sockets are the user's alone: whatever this program and what it starts write, others cannot read.
os.umask(0o077)

from harness.cli import main  # noqa: E402

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise SystemExit(main())
