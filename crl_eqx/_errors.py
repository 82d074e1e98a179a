class UserError(ValueError):
    """A mistake that whoever called can mend; its message is one sentence that says how.

    The library raises it like any `ValueError`; the command line prints the sentence without a
    traceback and exits with code 2.
    """


def first_line(error: BaseException) -> str:
    """What an error of others says, in one line."""
    return (str(error).strip() or repr(error)).splitlines()[0]
