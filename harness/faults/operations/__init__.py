"""Procedures carried out on the stack. One file per operation beside this one; the file's name is the ``type`` in a
scenario.
"""
