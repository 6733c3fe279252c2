"""Folds that keep equal images and questions together and each type in proportion."""
