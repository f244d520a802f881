"""The program: its arguments, and one file per command."""
