"""The file to hand in, and the check that the competition accepts it."""
