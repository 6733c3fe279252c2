"""Commands that hand a finished run on to others, or let them check it."""
