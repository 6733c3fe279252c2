"""What all stages need: errors, logs, files, locks, the store, digests of code."""
