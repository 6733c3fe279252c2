"""Trains the adapter of one fold and writes its folder."""
