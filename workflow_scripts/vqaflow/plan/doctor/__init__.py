"""Says what a machine has, what of it is too old or too new for a run, and what to do."""
