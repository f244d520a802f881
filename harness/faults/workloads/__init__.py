"""Clients that misbehave. One file per workload beside this one; the file's name is the ``type`` in a scenario."""
