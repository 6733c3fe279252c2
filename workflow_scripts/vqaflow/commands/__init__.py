"""The command line: one file per command, which parses and checks the options and calls one function."""
