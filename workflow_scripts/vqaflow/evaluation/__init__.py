"""How good the answers are, where they fail, and whether a results folder holds together."""
