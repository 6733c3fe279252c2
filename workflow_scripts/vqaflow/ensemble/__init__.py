"""Turns logits into one calibrated probability for each choice, and these into the submission."""
