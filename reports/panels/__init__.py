"""The parts of the report, one file each. A panel module has ``ORDER``, ``TITLE`` and ``html(view, verdict)``."""
