"""What the pipelines have in common."""

from __future__ import annotations

import inspect
from typing import Any, Callable

from . import _native
from ._inputs import whole
from ._keywords import known
from ._model import Model


class Pipeline:
    """A model, and the threads and the memory that compute with it.

    ``threads`` is how many threads compute; with 1, none is started. The results don't depend on it. Python's other threads run
    meanwhile. A pipeline can be shared by threads, which take turns, and pickled, and it works in forked workers.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, member in list(vars(cls).items()):
            if inspect.isfunction(member) and (name == "__call__" or not name.startswith("_")):
                setattr(cls, name, known(member))

    @known
    def __init__(self, model: Model, *, threads: int = 1) -> None:
        if not isinstance(model, Model):
            raise TypeError(f"model is {model!r}, and a Model is expected: open a file by Model.open(path)")
        whole(threads=threads)
        self.model = model
        self.threads = threads
        self._session = _native.Session(model._native, threads)
        self._compute_nothing()

    def _compute_nothing(self) -> object:
        """Computes no text, which fails where the model's head is for another task."""
        return None

    def __reduce__(self) -> tuple[Callable[..., Pipeline], tuple[Any, ...]]:
        return _made, (type(self), self.model, self.threads)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, threads={self.threads})"

    @property
    def instruction_set(self) -> str:
        """The instruction set that computes, such as ``"avx2"``. The results don't depend on it."""
        return self._session.isa()


def _made(kind: type[Pipeline], model: Model, threads: int) -> Pipeline:
    return kind(model, threads=threads)
