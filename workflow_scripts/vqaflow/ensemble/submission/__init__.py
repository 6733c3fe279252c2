"""The file to hand in, and the proof that it is whole."""
