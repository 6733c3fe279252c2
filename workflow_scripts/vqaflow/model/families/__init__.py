"""What differs between families of models, one module each; the rest of the package names no model class."""
