"""The one error for what a user asks of a run."""


class RunError(Exception):
    """What was asked cannot be done; the message is one sentence, meant for the user as it stands."""
