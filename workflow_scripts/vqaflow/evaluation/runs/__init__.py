"""Runs that are kept under a name, listed and compared."""
