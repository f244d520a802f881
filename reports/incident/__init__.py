"""Incident reports: from a run, or from the history of a Prometheus server."""
