"""vqaflow: from a table of images, questions and four choices to a validated submission."""

__version__ = "0.1.0"
