"""The data and the small base model of `make demo`; nothing but its commands depends on it."""
