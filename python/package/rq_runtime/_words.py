"""Masked language models: fill-mask and scores."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Optional, Union, cast, overload

from ._inputs import BATCH_SIZE, Arrow, each, is_text, several, text, whole
from ._pipeline import Pipeline
from ._results import Fill, Score

#: Of a text with one mask its tokens, of one with several a list for each.
Fills = Union[list[Fill], list[list[Fill]]]


class FillMask(Pipeline):
    """Fills masks, as transformers' ``fill-mask``.

    >>> from rq_runtime import Model
    >>> fill = FillMask(Model.demo())
    >>> [token["token_str"] for token in fill("She opened the <mask> and walked in.", top_k=2)]
    [' door', ' window']
    """

    def _compute_nothing(self) -> object:
        return self._session.fill([], 1, None, False)

    @overload
    def __call__(
        self, inputs: str, *, top_k: int = 5, targets: Union[str, Iterable[str], None] = None, truncate: bool = False
    ) -> Fills: ...
    @overload
    def __call__(
        self,
        inputs: Union[list[str], tuple[str, ...], Arrow],
        *,
        top_k: int = 5,
        targets: Union[str, Iterable[str], None] = None,
        truncate: bool = False,
    ) -> list[Fills]: ...
    @overload
    def __call__(
        self,
        inputs: Iterator[str],
        *,
        top_k: int = 5,
        targets: Union[str, Iterable[str], None] = None,
        truncate: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[Fills]: ...
    def __call__(
        self,
        inputs: Any,
        *,
        top_k: int = 5,
        targets: Union[str, Iterable[str], None] = None,
        truncate: bool = False,
        batch_size: int = BATCH_SIZE,
    ) -> Union[Fills, list[Fills], Iterator[Fills]]:
        """The ``top_k`` most probable tokens for each mask, by descending probability.

        With ``targets``, only these tokens: entries of the vocabulary as it writes them, or texts, of which the first token counts.
        A text that is too long is an error, unless ``truncate`` cuts it.
        """
        whole(top_k=top_k)
        if is_text(targets):
            targets = [cast(str, targets)]
        wanted = None if targets is None else several(targets, text, "target")

        def compute(texts: list[str]) -> list[Fills]:
            filled, notes = self._session.fill(texts, top_k, wanted, truncate)
            for note in notes:
                warnings.warn(note, stacklevel=2)
            results: list[Fills] = []
            for masks in filled:
                fills = [
                    [
                        Fill(score=score, token=token, token_str=token_str, sequence=sequence)
                        for score, token, token_str, sequence in mask
                    ]
                    for mask in masks
                ]
                results.append(fills[0] if len(fills) == 1 else fills)
            return results

        return each(inputs, text, compute, batch_size)


class Scorer(Pipeline):
    """Scores texts by how probable a masked language model finds them.

    >>> from rq_runtime import Model
    >>> score = Scorer(Model.demo())
    >>> good, bad = score(["He walked to the house.", "He walked house the to."])
    >>> good["score"] > bad["score"]
    True
    """

    def _compute_nothing(self) -> object:
        return self._session.score([], "original", False)

    @overload
    def __call__(self, inputs: str, *, method: str = "original", truncate: bool = False) -> Score: ...
    @overload
    def __call__(
        self, inputs: Union[list[str], tuple[str, ...], Arrow], *, method: str = "original", truncate: bool = False
    ) -> list[Score]: ...
    @overload
    def __call__(
        self, inputs: Iterator[str], *, method: str = "original", truncate: bool = False, batch_size: int = BATCH_SIZE
    ) -> Iterator[Score]: ...
    def __call__(
        self, inputs: Any, *, method: str = "original", truncate: bool = False, batch_size: int = BATCH_SIZE
    ) -> Union[Score, list[Score], Iterator[Score]]:
        """The pseudo-log-likelihood in nats, of the text and of each token.

        ``method`` is what is masked to score a token: ``"original"``, the token alone (Salazar et al. 2020), or
        ``"within_word_l2r"`` (the command's ``within-word-l2r`` is taken, too), the later tokens of its word as well (Kauf and Ivanova 2023).
        """

        method = text(method, "method").replace("-", "_")

        def compute(texts: list[str]) -> list[Score]:
            return [
                Score(
                    score=total,
                    pseudo_perplexity=perplexity,
                    tokens=[{"token": id, "token_str": token, "logprob": logprob} for id, token, logprob in tokens],
                )
                for total, perplexity, tokens in self._session.score(texts, method, truncate)
            ]

        return each(inputs, text, compute, batch_size)
