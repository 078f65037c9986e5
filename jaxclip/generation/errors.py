"""What can go wrong: with a whole run, or with one row."""


class GenerateError(ValueError):
    """The run cannot start or go on; the message names the file or endpoint, what was found and what was expected."""


class RowFailed(Exception):
    """One row gets no text for a role. The run goes on, and the row is kept with the reason.

    Attributes:
        reason: a key of `checks.REASONS`.
        detail: what was seen, for a person; may be empty.
    """

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
