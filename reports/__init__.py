"""What people read: made from a run folder and nothing else."""
