"""Speed and memory against what others do; nothing but its command depends on it."""
