"""The one kind of error that a user is meant to read."""


class UserError(ValueError):
    """Something the user can put right: says what is wrong, where, and what to do.

    Raise it with one message of the form ``WHERE: WHAT. CURE.``; `progress.stage` prints that message
    alone, without a traceback, and ends with exit status 1.
    """


class NotFinite(UserError):
    """Training left the range of its numbers: the settings are too bold for the precision."""


class OutOfMemory(UserError):
    """One row alone does not fit into memory with these settings."""
