"""Turns the user's CSV files and images into checked tables, leak-free folds and figures of the data."""
