"""Errors whose messages are written for users."""


class UserError(ValueError):
    """Something that the user can fix.

    Raise it with one message of the form ``WHERE: WHAT. CURE.``; `stage.stage` prints only that message, without a
    traceback, and ends with exit status 1.
    """


class NotFinite(UserError):
    """Training produced NaN or infinity: the learning rate is too high for this precision."""


class OutOfMemory(UserError):
    """A single row does not fit into memory with these settings."""


class ProcessLost(UserError):
    """A process that shares the work has ended; nothing is wrong with the settings, so another try may succeed."""
