"""The one error that bad input raises: a single line with the field, its value and what is allowed."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input, found before any work started; the command line prints it and exits with code 2."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        """Name the `field`, the offending `value` and, as the end of a sentence, what is `allowed`."""
        super().__init__(f"{field} = {value!r} is not usable: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str]]:
        """Survive the trip from a worker process (the default pickling would drop two arguments)."""
        return (InputError, (self.field, self.value, self.allowed))


class MissingDataError(InputError):
    """A data set is not in the data folder; the message says in one line how to get it."""

    def __reduce__(self) -> tuple[type[InputError], tuple[str, object, str]]:
        """See `InputError.__reduce__`."""
        return (MissingDataError, (self.field, self.value, self.allowed))
