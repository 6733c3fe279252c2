"""Intervals and tests of accuracies, the style of all figures, and the summary at the end of a run."""
