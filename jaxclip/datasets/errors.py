"""The error of data that cannot be used."""


class DatasetError(ValueError):
    """A data set that cannot be opened or built; the message names the file, the row and what was expected."""


class MissingDataError(DatasetError, FileNotFoundError):
    """A data set that is not on disk; the message says what puts it there."""
