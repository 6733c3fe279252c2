"""The logits of the choices for each row, view and choice order."""
