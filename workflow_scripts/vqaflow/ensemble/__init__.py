"""Pools the members into one calibrated probability for each choice, and writes the submission."""
