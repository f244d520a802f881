"""What is decided before anything starts: the scenario, the target, the load that fits, defects, options."""
