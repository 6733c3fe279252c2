"""How sure a number is, one look for all figures, and the line that a run ends with."""
