"""Estimates the memory and hours of a training before a GPU is used."""
