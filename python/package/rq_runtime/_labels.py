"""Classifiers of texts: their own labels, labels of one's own, and relevance."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Optional, TypedDict, Union, overload

from ._pipeline import BATCH_SIZE, Arrow, Pipeline, each, is_text, listed
from ._results import Label, Passage, ZeroShotLabels

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class TextPair(TypedDict):
    """Two texts that are classified together."""

    text: str
    text_pair: str


Classified = Union[str, TextPair]
Function = Optional[Literal["softmax", "sigmoid", "none"]]


def _pair(text: Classified) -> tuple[str, Optional[str]]:
    return (text, None) if isinstance(text, str) else (text["text"], text["text_pair"])


class Classifier(Pipeline):
    """Classifies texts, as transformers' ``text-classification``.

    A pair of texts is a dictionary: ``{"text": ..., "text_pair": ...}``.
    """

    @overload
    def __call__(
        self, inputs: Classified, *, top_k: Optional[int] = 1, function_to_apply: Function = None, truncate: bool = False
    ) -> list[Label]: ...
    @overload
    def __call__(
        self,
        inputs: Union[list[str], list[TextPair], tuple[Classified, ...], Arrow],
        *,
        top_k: Optional[int] = 1,
        function_to_apply: Function = None,
        truncate: bool = False,
    ) -> list[list[Label]]: ...
    @overload
    def __call__(
        self,
        inputs: Iterator[Classified],
        *,
        top_k: Optional[int] = 1,
        function_to_apply: Function = None,
        truncate: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[list[Label]]: ...
    def __call__(
        self,
        inputs: Any,
        *,
        top_k: Optional[int] = 1,
        function_to_apply: Function = None,
        truncate: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> Union[list[Label], list[list[Label]], Iterator[list[Label]]]:
        """The ``top_k`` best labels of each text, by descending score; with None, all of them.

        ``function_to_apply`` makes scores of the logits; by default it is the model's own.
        """

        def compute(texts: list[Classified]) -> list[list[Label]]:
            pairs = [_pair(text) for text in texts]
            labels = self._session.classify(pairs, top_k, function_to_apply, truncate)
            return [[Label(label=label, score=score) for label, score in best] for best in labels]

        return each(inputs, lambda inputs: isinstance(inputs, (str, dict)), compute, batch_size)


class ZeroShot(Pipeline):
    """Classifies texts by labels of your own, with a model for natural language inference, as ``zero-shot-classification``."""

    @overload
    def __call__(
        self,
        sequences: str,
        candidate_labels: Union[str, Sequence[str]],
        *,
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        truncate: bool = False,
    ) -> ZeroShotLabels: ...
    @overload
    def __call__(
        self,
        sequences: Union[list[str], tuple[str, ...], Arrow],
        candidate_labels: Union[str, Sequence[str]],
        *,
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        truncate: bool = False,
    ) -> list[ZeroShotLabels]: ...
    @overload
    def __call__(
        self,
        sequences: Iterator[str],
        candidate_labels: Union[str, Sequence[str]],
        *,
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        truncate: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[ZeroShotLabels]: ...
    def __call__(
        self,
        sequences: Any,
        candidate_labels: Union[str, Sequence[str]],
        *,
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        truncate: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> Union[ZeroShotLabels, list[ZeroShotLabels], Iterator[ZeroShotLabels]]:
        """The labels, by descending score.

        Each label takes the place of ``{}`` in the template. With ``multi_label``, each has a probability of its own; else
        those of all sum to 1. In a string, labels are separated by commas.
        """
        if isinstance(candidate_labels, str):
            candidate_labels = [label.strip() for label in candidate_labels.split(",") if label.strip()]
        labels = list(candidate_labels)

        def compute(texts: list[str]) -> list[ZeroShotLabels]:
            scores, unnamed = self._session.zero_shot(texts, labels, hypothesis_template, multi_label, truncate)
            if unnamed is not None:
                message = f'no label of the model begins with "entail": its last one, {unnamed!r}, is used instead'
                warnings.warn(message, stacklevel=2)
            return [
                ZeroShotLabels(
                    sequence=text,
                    labels=[label for label, _ in best],
                    scores=[score for _, score in best],
                )
                for text, best in zip(texts, scores)
            ]

        return each(sequences, is_text, compute, batch_size)


class CrossEncoder(Pipeline):
    """Scores pairs of texts, as sentence-transformers' ``CrossEncoder``."""

    def predict(self, sentences: Sequence[Sequence[str]], *, truncate: bool = False) -> npt.NDArray[np.float32]:
        """The score of each pair, if the model has one label; else a row of scores, in the order of the labels."""
        import numpy as np

        pairs: list[tuple[str, Optional[str]]] = [(first, second) for first, second in sentences]
        scores = self._session.classify(pairs, None, None, truncate)
        names = self.model.labels
        if len(names) == 1:
            return np.array([labels[0][1] for labels in scores], dtype=np.float32)
        rows = [[dict(labels)[name] for name in names] for labels in scores]
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(names))

    def rank(
        self,
        query: str,
        documents: Union[Sequence[str], Arrow],
        *,
        top_k: Optional[int] = None,
        return_documents: bool = False,
        truncate: bool = False,
    ) -> list[Passage]:
        """The ``top_k`` most relevant documents, or all, by descending score; of equal ones, the first first."""
        import numpy as np

        if len(self.model.labels) != 1:
            raise ValueError(
                f"ranking needs a model with one label, which says how relevant a document is; this one has "
                f"{len(self.model.labels)}"
            )
        documents = listed(documents)
        scores = self.predict([(query, document) for document in documents], truncate=truncate)
        best = np.argsort(-scores, kind="stable")[:top_k]
        passages = [Passage(corpus_id=int(place), score=float(scores[place])) for place in best]
        if return_documents:
            for passage in passages:
                passage["text"] = documents[passage["corpus_id"]]
        return passages
