"""Plain data and pure functions, which everything else may rest on: no network, no clock, no file."""
