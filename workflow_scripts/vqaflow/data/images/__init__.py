"""Image files: found, decoded, measured, compared."""
