"""Figures and numbers of what the tables hold."""
