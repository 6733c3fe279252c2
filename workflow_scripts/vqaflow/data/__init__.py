"""From the user's CSV files and images to checked tables, leak-free folds and figures of what they hold."""
