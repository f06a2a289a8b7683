"""What the pipelines have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Callable, Optional, Protocol, TypeVar, Union, cast

from . import _native
from ._model import Model

Input = TypeVar("Input")
Result = TypeVar("Result")

#: How many texts of an iterator are computed together, unless it is said.
BATCH_SIZE = 32


class ArrowArray(Protocol):
    """An Arrow array, such as a column of pyarrow."""

    def __arrow_c_array__(self, requested_schema: Optional[object] = None) -> tuple[object, object]: ...


class ArrowStream(Protocol):
    """Arrow arrays in a row, such as a column of Polars."""

    def __arrow_c_stream__(self, requested_schema: Optional[object] = None) -> object: ...


#: A column of a data frame: whatever has the Arrow PyCapsule interface.
Arrow = Union[ArrowArray, ArrowStream]


def is_arrow(texts: object) -> bool:
    return hasattr(texts, "__arrow_c_stream__") or hasattr(texts, "__arrow_c_array__")


def listed(texts: Union[Iterable[str], Arrow]) -> list[str]:
    """The texts of a column, of which none may be null, or of any other collection."""
    if not is_arrow(texts):
        return list(cast("Iterable[str]", texts))
    column = _native.texts(texts)
    if None in column:
        raise ValueError(f"text {column.index(None) + 1} of {len(column)} is null")
    return cast("list[str]", column)


def batches(inputs: Iterable[Input], size: int) -> Iterator[list[Input]]:
    """The inputs in their order, so many at a time."""
    if size < 1:
        raise ValueError(f"batch_size is {size}, and is at least 1")
    inputs = iter(inputs)
    while batch := list(islice(inputs, size)):
        yield batch


def each(
    inputs: Any,
    is_one: Callable[[Any], bool],
    compute: Callable[[list[Any]], list[Result]],
    batch_size: int,
) -> Union[Result, list[Result], Iterator[Result]]:
    """A result for an input, a list for several, and for an iterator an iterator, which computes a batch when it is asked for it."""
    if is_one(inputs):
        return compute([inputs])[0]
    if is_arrow(inputs):
        return compute(listed(inputs))
    if isinstance(inputs, Iterator):
        return (result for batch in batches(inputs, batch_size) for result in compute(batch))
    if isinstance(inputs, Iterable):
        return compute(list(inputs))
    raise TypeError(f"expected a text, or several, not {type(inputs).__name__}")


def is_text(inputs: object) -> bool:
    return isinstance(inputs, str)


class Pipeline:
    """A model, and the threads and the memory that compute with it.

    ``threads`` is how many threads compute; with 1, none is started. The results don't depend on it. Python's other threads run
    meanwhile. A pipeline can be shared by threads, which take turns, and pickled, and it works in forked workers.
    """

    def __init__(self, model: Model, *, threads: int = 1) -> None:
        self.model = model
        self.threads = threads
        self._session = _native.Session(model._native, threads)

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
