"""Pages about more than one run, one file each."""
