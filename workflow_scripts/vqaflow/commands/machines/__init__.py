"""Commands that fit a run to the machine that it has."""
