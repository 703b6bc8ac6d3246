"""The one kind of error that the training reports to its user: a short name to search for, and a sentence."""


class TrainError(Exception):
    """Something is wrong with the inputs or with the run; `name` is stable, the message is for people."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
