"""Commands that stand on their own."""
