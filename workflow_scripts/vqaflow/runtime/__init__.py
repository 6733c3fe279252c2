"""What every stage stands on, whatever it computes: errors, logs, files, locks, the store, digests of code."""
