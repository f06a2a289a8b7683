"""The native part. Use the package's own names: these may change."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, Callable, Optional, TypedDict, Union

import numpy as np
import numpy.typing as npt

_Matrix = npt.NDArray[np.float32]

class Embed(TypedDict):
    pooling: Optional[str]
    normalize: Optional[bool]
    dimension: Optional[int]
    prompt_name: Optional[str]
    prompt: Optional[str]
    truncate: bool

class Embeddings:
    """Embeddings in Arrow, float32, a fixed-size list for each text: what takes the Arrow PyCapsule interface takes them."""

    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_array__(self, requested_schema: Optional[object] = None) -> tuple[object, object]: ...

def texts(object: Any) -> list[Optional[str]]: ...

def convert(
    source: str,
    output: Union[str, PathLike[str]],
    quant: str,
    calibrate: Optional[bool],
    calibration_text: Union[str, PathLike[str], None],
    head: Optional[str],
    revision: Optional[str],
    threads: int,
    hear: Optional[Callable[[str, float], object]],
) -> list[str]: ...
def command(arguments: Sequence[str]) -> int: ...

class Model:
    @staticmethod
    def open(path: Union[str, PathLike[str]]) -> Model: ...
    @staticmethod
    def demo() -> Model: ...
    def config(self) -> tuple[str, str]: ...
    def max_tokens(self) -> int: ...
    def tokens(self, text: str) -> list[int]: ...
    def token(self, id: int) -> Optional[str]: ...

class Session:
    def __new__(cls, model: Model, threads: int) -> Session: ...
    def isa(self) -> str: ...
    def fill(
        self, inputs: Sequence[str], top_k: int, targets: Optional[Sequence[str]], truncate: bool
    ) -> tuple[list[list[list[tuple[float, int, str, str]]]], list[str]]: ...
    def score(
        self, inputs: Sequence[str], method: str, truncate: bool
    ) -> list[tuple[float, Optional[float], list[tuple[int, str, float]]]]: ...
    def embed(self, inputs: Sequence[str], options: Embed) -> _Matrix: ...
    def embed_tokens(self, inputs: Sequence[str], options: Embed) -> list[_Matrix]: ...
    def embed_arrow(self, inputs: Sequence[Optional[str]], options: Embed) -> Embeddings: ...
    def dimension(self, options: Embed) -> int: ...
    def sparse(
        self, inputs: Sequence[str], most: Optional[int], prompt_name: Optional[str], truncate: bool
    ) -> tuple[list[tuple[list[int], list[float]]], int]: ...
    def classify(
        self,
        inputs: Sequence[tuple[str, Optional[str]]],
        top_k: Optional[int],
        function: Optional[str],
        truncate: bool,
    ) -> list[list[tuple[str, float, int]]]: ...
    def zero_shot(
        self,
        inputs: Sequence[str],
        candidates: Sequence[str],
        template: str,
        multi_label: bool,
        entailment_label: Optional[str],
        truncate: bool,
    ) -> list[list[tuple[str, float, int]]]: ...
    def tag(
        self,
        inputs: Sequence[str],
        aggregation: str,
        stride: Optional[int],
        ignore_labels: Sequence[str],
    ) -> list[list[tuple[str, float, Optional[int], str, int, int]]]: ...
    def tag_words(self, inputs: Sequence[Sequence[str]]) -> list[list[Optional[tuple[str, float]]]]: ...
    def answer(
        self,
        inputs: Sequence[tuple[str, str]],
        top_k: int,
        max_answer_len: int,
        max_seq_len: Optional[int],
        doc_stride: Optional[int],
        handle_impossible_answer: bool,
        align_to_words: bool,
    ) -> list[list[tuple[float, int, int, str]]]: ...
