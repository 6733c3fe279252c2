"""The base model, its adapter, one row as the model reads it, and the fast forward of both halves."""
