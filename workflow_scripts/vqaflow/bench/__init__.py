"""Speed and memory compared with other recipes; only its command depends on it."""
