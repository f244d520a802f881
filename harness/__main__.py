"""``python -m harness``."""

import signal

# The imports take a second or two. Nothing is started yet: Ctrl-C just ends the program, without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from harness.cli import main  # noqa: E402

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise SystemExit(main())
