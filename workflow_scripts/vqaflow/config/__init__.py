"""Reads and checks config.yaml, and provides its sections as read-only objects."""
