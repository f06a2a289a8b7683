"""What can go wrong. The messages are those of the command."""


class Error(Exception):
    """An error of rq."""


class ConversionError(Error):
    """A checkpoint can't be found, read or converted."""


class FileError(Error, OSError):
    """The operating system refuses: no such file, no rights, no threads."""


class ModelError(Error):
    """The file isn't a model, is damaged, was written by a newer version, or gives no finite numbers."""


class TaskError(Error, TypeError):
    """The model's head is for another task."""


class TextError(Error, ValueError):
    """A text can't be answered: it is empty, too long, or lacks what the task needs."""
