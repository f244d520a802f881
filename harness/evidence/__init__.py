"""What was seen: the records of a run, its phases, and one view of both. Written by a run, read by everything else."""
