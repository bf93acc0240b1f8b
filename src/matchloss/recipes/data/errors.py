"""The one error that a reader of data raises."""


class DataError(Exception):
    """A bad file or folder; the message names the file and the reason, and is meant for the user as it stands."""
