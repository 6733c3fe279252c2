"""The checks of a finished results folder; they change nothing."""
