"""The decoder over several choice orders of a row at once, with adapters in training or merged."""
