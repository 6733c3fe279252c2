"""Arithmetic that the vision tower and the decoder share."""
