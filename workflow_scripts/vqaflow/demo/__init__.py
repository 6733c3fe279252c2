"""The data and the small base model of `make demo`; only its commands depend on it."""
