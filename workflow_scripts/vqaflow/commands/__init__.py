"""The command line: one file for each command, which parses, checks and calls once."""
