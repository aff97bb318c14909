"""Stories for `make demo`."""
