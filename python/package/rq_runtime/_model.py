"""A model file."""

from __future__ import annotations

import json
import os
import warnings
from typing import Any, Callable, Literal, Optional, Union

from . import _native
from ._inputs import text as checked
from ._inputs import whole

#: The names that transformers has for what a head is for.
_TASKS = {
    "none": "feature-extraction",
    "masked_lm": "fill-mask",
    "sequence_classification": "text-classification",
    "token_classification": "token-classification",
    "question_answering": "question-answering",
}


class Model:
    """A model file, mapped into memory: opening it is quick, and processes that open the same file share its memory.

    Threads and forked workers can share it. It can be pickled, as the path that it was opened by.
    """

    def __init__(
        self, native: _native.Model, origin: Optional[tuple[Callable[..., Model], tuple[Any, ...]]] = None
    ) -> None:
        if origin is None:
            raise TypeError("a Model is made by Model.open(path), Model.convert(source, path) or Model.demo()")
        self._native = native
        self._origin = origin
        config, head = native.config()
        self._config: dict[str, Any] = json.loads(config)
        self._task = _TASKS[head]

    @classmethod
    def open(cls, path: Union[str, os.PathLike[str]]) -> Model:
        """Maps the file at ``path``; ``~`` is the user's own directory.

        >>> Model.open("no-such-file.rq")  # doctest: +IGNORE_EXCEPTION_DETAIL
        Traceback (most recent call last):
        rq_runtime.FileError: can't open no-such-file.rq
        """
        path = os.path.abspath(os.path.expanduser(path))
        return cls(_native.Model.open(path), (cls.open, (path,)))

    @classmethod
    def demo(cls) -> Model:
        """The small English masked language model that comes with the package.

        >>> Model.demo().task
        'fill-mask'
        """
        return cls(_native.Model.demo(), (cls.demo, ()))

    @classmethod
    def convert(
        cls,
        source: Union[str, os.PathLike[str]],
        output: Union[str, os.PathLike[str]],
        *,
        quant: Literal["q8", "q4", "q4m"] = "q8",
        calibrate: Union[bool, str, os.PathLike[str], None] = None,
        head: Optional[str] = None,
        revision: Optional[str] = None,
        threads: int = 1,
        progress: Optional[Callable[[str, float], object]] = None,
    ) -> Model:
        """Converts a checkpoint to the file ``output``, as ``rq convert`` does, and opens that.

        ``source`` is a directory, or the name of a model on the Hugging Face hub. ``calibrate`` is whether the weights are calibrated
        on built-in English text, or a file of text to calibrate them on; by default q4 and q4m are. ``progress`` is called with
        what is worked on, and how much of all is done, from 0 to 1; a download counts anew. What there is to know of the
        checkpoint is a warning.
        """
        whole(threads=threads)
        source, output = os.path.expanduser(source), os.path.expanduser(output)
        text = None if calibrate is None or isinstance(calibrate, bool) else os.path.expanduser(calibrate)
        wanted = calibrate if isinstance(calibrate, bool) else None
        notes = _native.convert(
            source, output, quant, wanted, text, head, revision, threads, progress
        )
        for note in notes:
            warnings.warn(note, stacklevel=2)
        return cls.open(output)

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[Any, ...]]:
        return self._origin

    def __repr__(self) -> str:
        make, arguments = self._origin
        return f"Model.{make.__name__}({', '.join(map(repr, arguments))})"

    @property
    def task(self) -> str:
        """What the model's head is for, as transformers names it: ``"fill-mask"``, ``"feature-extraction"`` without a head."""
        return self._task

    @property
    def config(self) -> dict[str, Any]:
        """A copy of the configuration in the file, as ``rq info --json`` prints it."""
        return dict(self._config)

    @property
    def labels(self) -> list[str]:
        """The labels of a classifier or tagger, in the order of its outputs."""
        return list(self._config["labels"])

    @property
    def max_seq_length(self) -> int:
        """The most tokens that a text can have, the special ones included."""
        return self._native.max_tokens()

    def token_ids(self, text: str) -> list[int]:
        """The ids of a text's tokens, the special ones included.

        >>> len(Model.demo().token_ids("She opened the door."))
        7
        """
        return self._native.tokens(checked(text, "the text"))

    def tokens(self, text: str) -> list[str]:
        """A text's tokens as the vocabulary writes them, the special ones included."""
        return [self._native.token(id) or "" for id in self.token_ids(text)]
