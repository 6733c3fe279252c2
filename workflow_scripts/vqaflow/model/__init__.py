"""The base model and its adapter, the encoding of a row, and the fast forward of vision tower and decoder."""
