"""Advice on which submissions to select at the end of a competition."""
