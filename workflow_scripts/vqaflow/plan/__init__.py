"""Memory and hours of a training, told before the first GPU hour."""
