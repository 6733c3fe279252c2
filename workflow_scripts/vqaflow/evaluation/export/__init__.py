"""What other programs read, written from a run: probabilities, training rows and a task of an evaluation tool."""
