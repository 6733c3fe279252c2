"""From logits to one calibrated probability for each choice, and the submission made of them."""
