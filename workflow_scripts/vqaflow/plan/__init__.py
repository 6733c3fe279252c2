"""Memory and hours of a training, before the first GPU hour."""
