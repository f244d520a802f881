"""Stacks that tests start by their file."""
