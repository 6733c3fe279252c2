"""The search for better parameters of training."""
