"""What callers give: texts, pairs, numbers. Each is checked here, and what is wrong is said with its place."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Callable, Optional, Protocol, TypeVar, Union, cast

from . import _native
from ._errors import TextError

Input = TypeVar("Input")
Result = TypeVar("Result")
#: Makes an input of a value, or fails with the place that it is told.
Check = Callable[[object, str], Input]

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


def is_arrow(values: object) -> bool:
    return hasattr(values, "__arrow_c_stream__") or hasattr(values, "__arrow_c_array__")


def is_text(value: object) -> bool:
    return isinstance(value, str)


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{place} is {_kind(value)}, and a str is expected")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TextError(
            f"{place} has half a character, {value[error.start]!r} at {error.start}: read the text with its own encoding, or replace "
            'such halves by text.encode("utf-8", "replace").decode()'
        ) from None
    return value


def text_or_none(value: object, place: str) -> Optional[str]:
    return None if value is None else text(value, place)


def pair(value: object, place: str) -> tuple[str, str]:
    if is_text(value) or isinstance(value, (bytes, Mapping, set, frozenset)) or not isinstance(value, Iterable):
        raise TypeError(f"{place} is {_kind(value)}, and two texts are expected: (query, passage)")
    both = list(value)
    if len(both) != 2:
        raise ValueError(f"{place} has {len(both)} texts, and two are expected: (query, passage)")
    return text(both[0], f"{place}, its first text,"), text(both[1], f"{place}, its second text,")


def members(value: object, place: str, names: tuple[str, ...]) -> list[Any]:
    """The values of a dictionary that has these keys and no others; None for one that is absent."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{place} is {_kind(value)}, and a dictionary with {', '.join(names)} is expected")
    for key in value:
        if key not in names:
            raise ValueError(f"{place} has the key {key!r}; there are {', '.join(names)}")
    return [value.get(name) for name in names]


def several(values: Any, check: Check[Input], noun: str = "text") -> list[Input]:
    """The inputs of a collection or a column, all of them checked."""
    if is_arrow(values):
        values = _native.texts(values)
        if None in values and check is not text_or_none:
            raise ValueError(f"{noun} {values.index(None) + 1} of {len(values)} is null")
    elif isinstance(values, (str, bytes, Mapping, set, frozenset)) or not isinstance(values, Iterable):
        raise TypeError(f"expected several {noun}s, such as a list of them, and this is {_kind(values)}")
    values = list(values)
    count = len(values)
    return [check(value, f"{noun} {number} of {count}" if count > 1 else f"the {noun}") for number, value in enumerate(values, 1)]


def whole(least: int = 1, **numbers: Optional[int]) -> None:
    """Fails for a number, named by its keyword, that is less than ``least`` or isn't whole."""
    for name, number in numbers.items():
        if number is None:
            continue
        try:
            value = operator.index(number)
        except TypeError:
            raise TypeError(f"{name} is {_kind(number)}, and a whole number is expected") from None
        if not least <= value <= sys.maxsize:
            raise ValueError(f"{name} is {value}, and is at {'least ' + str(least) if value < least else 'most ' + str(sys.maxsize)}")


def batches(inputs: Iterable[Input], size: int) -> Iterator[list[Input]]:
    """The inputs in their order, so many at a time."""
    inputs = iter(inputs)
    while batch := list(islice(inputs, size)):
        yield batch


def each(
    inputs: Any,
    check: Check[Input],
    compute: Callable[[list[Input]], list[Result]],
    batch_size: int,
    is_one: Callable[[Any], bool] = is_text,
) -> Union[Result, list[Result], Iterator[Result]]:
    """A result for an input, a list for several, and for an iterator an iterator, which computes a batch when it is asked for it."""
    whole(batch_size=batch_size)
    if is_one(inputs):
        return compute([check(inputs, "the text")])[0]
    if isinstance(inputs, Iterator) and not is_arrow(inputs):
        numbered = (check(value, f"text {number}") for number, value in enumerate(inputs, 1))
        return (result for batch in batches(numbered, batch_size) for result in compute(batch))
    return compute(several(inputs, check))
