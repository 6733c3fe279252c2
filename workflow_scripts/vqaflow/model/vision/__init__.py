"""The frozen vision tower."""
