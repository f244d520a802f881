"""What must hold for every input, not only for those that somebody thought of: property tests and fuzzing."""
