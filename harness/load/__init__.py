"""The load generator: ``python -m harness.load RUNFOLDER``. Only this package imports Locust and gevent.

Importing the package itself imports neither: only ``__main__`` and what it pulls in run under gevent.
"""
