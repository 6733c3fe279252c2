"""What others need to check a finished run: model cards, a crate, signatures, and lists of its software."""
