"""Stored real runs, changed in all generic ways: what a verdict of PASS does not rest on is listed, with the reason."""
