"""The checks of a finished results folder. They change nothing."""
