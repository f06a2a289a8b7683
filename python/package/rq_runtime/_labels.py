"""Classifiers of texts: their own labels, labels of one's own, and relevance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Optional, TypedDict, Union, overload

from ._inputs import BATCH_SIZE, Arrow, each, is_text, members, pair, several, text, text_or_none, whole
from ._pipeline import Pipeline
from ._results import Label, Passage, ZeroShotLabels

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class _Text(TypedDict):
    text: str


class TextPair(_Text, total=False):
    """Two texts that are classified together, or one."""

    text_pair: Optional[str]


Classified = Union[str, TextPair]
Function = Optional[Literal["softmax", "sigmoid", "none"]]


def _classified(value: object, place: str) -> tuple[str, Optional[str]]:
    if not isinstance(value, dict):
        return text(value, place), None
    first, second = members(value, place, ("text", "text_pair"))
    return text(first, f"{place}, its text,"), text_or_none(second, f"{place}, its text_pair,")


class _OfLabels(Pipeline):
    def _compute_nothing(self) -> object:
        return self._session.classify([], None, None, False)


class Classifier(_OfLabels):
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

        Each text has a list of labels, also with one label: transformers leaves that list out, unless ``top_k`` is given.
        ``function_to_apply`` makes scores of the logits; by default it is the model's own.
        """
        whole(top_k=top_k)

        def compute(texts: list[tuple[str, Optional[str]]]) -> list[list[Label]]:
            labels = self._session.classify(texts, top_k, function_to_apply, truncate)
            return [[Label(label=label, score=score) for label, score, _ in best] for best in labels]

        return each(inputs, _classified, compute, batch_size, lambda inputs: isinstance(inputs, (str, dict)))


class ZeroShot(_OfLabels):
    """Classifies texts by labels of your own, with a model for natural language inference, as ``zero-shot-classification``."""

    @overload
    def __call__(
        self,
        sequences: str,
        candidate_labels: Union[str, Iterable[str]],
        *,
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        entailment_label: Optional[str] = None,
        truncate: bool = False,
    ) -> ZeroShotLabels: ...
    @overload
    def __call__(
        self,
        sequences: Union[list[str], tuple[str, ...], Arrow],
        candidate_labels: Union[str, Iterable[str]],
        *,
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        entailment_label: Optional[str] = None,
        truncate: bool = False,
    ) -> list[ZeroShotLabels]: ...
    @overload
    def __call__(
        self,
        sequences: Iterator[str],
        candidate_labels: Union[str, Iterable[str]],
        *,
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        entailment_label: Optional[str] = None,
        truncate: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[ZeroShotLabels]: ...
    def __call__(
        self,
        sequences: Any,
        candidate_labels: Union[str, Iterable[str]],
        *,
        hypothesis_template: str = "This example is {}.",
        multi_label: bool = False,
        entailment_label: Optional[str] = None,
        truncate: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> Union[ZeroShotLabels, list[ZeroShotLabels], Iterator[ZeroShotLabels]]:
        """The labels, by descending score.

        Each label takes the place of ``{}`` in the template. With ``multi_label``, each has a probability of its own; else
        those of all sum to 1. In a string, labels are separated by commas.

        The label of the model that counts is the one whose name begins with "entail"; where there is none, ``entailment_label``
        names it.
        """
        if isinstance(candidate_labels, str):
            candidate_labels = [label for label in candidate_labels.split(",") if label.strip()]
        labels = [label.strip() for label in several(candidate_labels, text, "label")]
        if not labels:
            raise ValueError('candidate_labels has no label: give one or more, such as "sports"')
        if "" in labels:
            raise ValueError(f"label {labels.index('') + 1} of {len(labels)} is empty")
        template = text(hypothesis_template, "hypothesis_template")
        entailment = text_or_none(entailment_label, "entailment_label")

        def compute(texts: list[str]) -> list[ZeroShotLabels]:
            scores = self._session.zero_shot(texts, labels, template, multi_label, entailment, truncate)
            return [
                ZeroShotLabels(
                    sequence=sequence,
                    labels=[label for label, _, _ in best],
                    scores=[score for _, score, _ in best],
                )
                for sequence, best in zip(texts, scores)
            ]

        return each(sequences, text, compute, batch_size)


class CrossEncoder(_OfLabels):
    """Scores pairs of texts, as sentence-transformers' ``CrossEncoder``."""

    @overload
    def predict(self, sentences: tuple[str, str], *, truncate: bool = False) -> Any: ...
    @overload
    def predict(
        self, sentences: Union[Sequence[Sequence[str]], npt.NDArray[np.str_]], *, truncate: bool = False
    ) -> npt.NDArray[np.float32]: ...
    def predict(self, sentences: Any, *, truncate: bool = False) -> Any:
        """The score of each pair, if the model has one label; else a row of scores, in the order of the labels.

        Two texts, ``("query", "passage")``, are a single pair, which has a single score or row.
        """
        import numpy as np

        if isinstance(sentences, np.ndarray):
            sentences = sentences.tolist()
        one = isinstance(sentences, (tuple, list)) and len(sentences) == 2 and all(map(is_text, sentences))
        pairs = several([sentences] if one else sentences, pair, "pair")
        scores = self._session.classify(pairs, None, None, truncate)
        rows = np.empty((len(scores), len(self.model.labels)), dtype=np.float32)
        for row, labels in zip(rows, scores):
            for _, score, index in labels:
                row[index] = score
        results = rows[:, 0] if rows.shape[1] == 1 else rows
        return results[0] if one else results

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
        whole(top_k=top_k)
        query = text(query, "query")
        documents = several(documents, text, "document")
        scores = self.predict([(query, document) for document in documents], truncate=truncate)
        best = np.argsort(-scores, kind="stable")[:top_k]
        passages = [Passage(corpus_id=int(place), score=float(scores[place])) for place in best]
        if return_documents:
            for passage in passages:
                passage["text"] = documents[passage["corpus_id"]]
        return passages
