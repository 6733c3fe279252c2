"""The files that people hand in and rules hand on: their columns, and how each is read and written."""
