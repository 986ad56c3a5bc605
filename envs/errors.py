"""The one exception that means: the user can mend this."""


class UserError(ValueError):
    """A user's mistake. The message is one line: what is wrong and how to mend it.

    The command lines print it without a traceback and leave with exit status 2.
    """
