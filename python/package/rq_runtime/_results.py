"""What the pipelines give: the dictionaries of transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Optional, TypedDict

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Fill(TypedDict):
    """A token for a mask."""

    #: Its probability.
    score: float
    #: Its id.
    token: int
    #: Its text, with the space before it if it has one.
    token_str: str
    #: The text with it in the mask's place; with the special tokens if the text has other masks.
    sequence: str


class Token(TypedDict):
    """A token, and how probable the model finds it."""

    token: int
    token_str: str
    #: The natural logarithm of its probability.
    logprob: float


class Score(TypedDict):
    """How probable the model finds a text."""

    #: The pseudo-log-likelihood in nats.
    score: float
    #: None for a text without tokens.
    pseudo_perplexity: Optional[float]
    tokens: list[Token]


class Label(TypedDict):
    """A label, and its score."""

    label: str
    score: float


class ZeroShotLabels(TypedDict):
    """A text, and labels by descending score."""

    sequence: str
    labels: list[str]
    scores: list[float]


class _Place(TypedDict):
    score: float
    word: str
    #: Its first character in the text.
    start: int
    #: The character after its last one.
    end: int


class Entity(_Place, total=False):
    """An entity, or without aggregation a token."""

    #: Of an entity.
    entity_group: str
    #: Of a token.
    entity: str
    #: Of a token: its place among the text's tokens.
    index: int


class WordLabel(TypedDict):
    """A word, and the label of its first token; None where the tokenizer makes no token of the word."""

    word: str
    label: Optional[str]
    score: Optional[float]


class Answer(TypedDict):
    """An answer, and its place in the context, in characters."""

    score: float
    start: int
    end: int
    answer: str


class Passage(TypedDict, total=False):
    """A document, and how relevant it is."""

    #: Its place in the list of documents.
    corpus_id: int
    score: float
    #: With ``return_documents``.
    text: str


class SparseEmbeddings(NamedTuple):
    """A sparse matrix with a row for each text: ``scipy.sparse.csr_matrix(e[:3], e.shape)``."""

    data: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int32]
    indptr: npt.NDArray[np.int64]
    shape: tuple[int, int]
