"""Estimates the memory of each training and the hours of the whole run before a GPU is used, and says what a machine lacks."""
