"""Estimates memory and hours of a run before a GPU is used, and says what a machine lacks."""
