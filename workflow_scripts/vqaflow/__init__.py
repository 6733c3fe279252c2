"""vqaflow: from a table of images, questions and four choices to a validated submission."""
