"""The parts of the nightly page, each computed from plain data."""
