"""What stands in a text: entities and answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Optional, TypedDict, Union, overload

from ._inputs import BATCH_SIZE, Arrow, each, members, several, text, whole
from ._pipeline import Pipeline
from ._results import Answer, Entity, WordLabel

Strategy = Literal["none", "simple", "first", "average", "max"]


def _words(value: object, place: str) -> list[str]:
    try:
        return several(value, text, "word")
    except (TypeError, ValueError) as error:
        raise type(error)(f"{place}: {error}") from None


def _question(value: object, place: str) -> tuple[str, str]:
    question, context = members(value, place, ("question", "context"))
    return text(question, f"{place}, its question,"), text(context, f"{place}, its context,")


class Tagger(Pipeline):
    """Finds entities, as transformers' ``token-classification``. A long text is read in windows that overlap."""

    def _compute_nothing(self) -> object:
        return self._session.tag([], "none", None, [])

    @overload
    def __call__(
        self,
        inputs: str,
        *,
        aggregation_strategy: Strategy = "none",
        stride: Optional[int] = None,
        ignore_labels: Sequence[str] = ("O",),
    ) -> list[Entity]: ...
    @overload
    def __call__(
        self,
        inputs: Union[list[str], tuple[str, ...], Arrow],
        *,
        aggregation_strategy: Strategy = "none",
        stride: Optional[int] = None,
        ignore_labels: Sequence[str] = ("O",),
    ) -> list[list[Entity]]: ...
    @overload
    def __call__(
        self,
        inputs: Iterator[str],
        *,
        aggregation_strategy: Strategy = "none",
        stride: Optional[int] = None,
        ignore_labels: Sequence[str] = ("O",),
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[list[Entity]]: ...
    def __call__(
        self,
        inputs: Any,
        *,
        aggregation_strategy: Strategy = "none",
        stride: Optional[int] = None,
        ignore_labels: Sequence[str] = ("O",),
        batch_size: int = BATCH_SIZE,
    ) -> Union[list[Entity], list[list[Entity]], Iterator[list[Entity]]]:
        """The tokens whose label isn't ignored, or what they make up by an ``aggregation_strategy``.

        With ``stride``, windows overlap by so many tokens, and entities are made up in each, as transformers does; by default they
        overlap by a quarter, and entities are made up of the whole text.
        """

        whole(least=0, stride=stride)
        ignored = several(ignore_labels, text, "label")

        def entity(
            label: str, score: float, index: Optional[int], word: str, start: int, end: int
        ) -> Entity:
            if index is None:
                return {"entity_group": label, "score": score, "word": word, "start": start, "end": end}
            return {"entity": label, "score": score, "index": index, "word": word, "start": start, "end": end}

        def compute(texts: list[str]) -> list[list[Entity]]:
            tagged = self._session.tag(texts, aggregation_strategy, stride, ignored)
            return [[entity(*one) for one in entities] for entities in tagged]

        return each(inputs, text, compute, batch_size)

    def words(self, texts: Sequence[Sequence[str]]) -> list[list[WordLabel]]:
        """Of texts that are divided into words, the label of each word: that of its first token."""
        words = several(texts, _words)
        return [
            [
                WordLabel(word=word, label=tag and tag[0], score=tag and tag[1])
                for word, tag in zip(one, tags)
            ]
            for one, tags in zip(words, self._session.tag_words(words))
        ]


class Question(TypedDict):
    """A question, and the text in which its answer is looked for."""

    question: str
    context: str


class Answerer(Pipeline):
    """Answers questions from a text, as ``question-answering`` of transformers 4. A long text is read in windows that overlap."""

    def _compute_nothing(self) -> object:
        return self._session.answer([], 1, 1, None, None, False, True)

    def __call__(
        self,
        question: str,
        context: str,
        *,
        top_k: int = 1,
        max_answer_len: int = 15,
        max_seq_len: Optional[int] = None,
        doc_stride: Optional[int] = None,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> Union[Answer, list[Answer]]:
        """The best answer, or with ``top_k`` above 1 a list of the best, by descending score."""
        return self.batch(
            [{"question": question, "context": context}],
            top_k=top_k,
            max_answer_len=max_answer_len,
            max_seq_len=max_seq_len,
            doc_stride=doc_stride,
            handle_impossible_answer=handle_impossible_answer,
            align_to_words=align_to_words,
        )[0]

    def batch(
        self,
        questions: Sequence[Question],
        *,
        top_k: int = 1,
        max_answer_len: int = 15,
        max_seq_len: Optional[int] = None,
        doc_stride: Optional[int] = None,
        handle_impossible_answer: bool = False,
        align_to_words: bool = True,
    ) -> list[Union[Answer, list[Answer]]]:
        """The same for several questions, each with its own context."""
        whole(top_k=top_k, max_answer_len=max_answer_len, max_seq_len=max_seq_len)
        whole(least=0, doc_stride=doc_stride)
        answered = self._session.answer(
            several(questions, _question, "question"),
            top_k,
            max_answer_len,
            max_seq_len,
            doc_stride,
            handle_impossible_answer,
            align_to_words,
        )
        results: list[Union[Answer, list[Answer]]] = []
        for found in answered:
            answers = [Answer(score=score, start=start, end=end, answer=answer) for score, start, end, answer in found]
            results.append(answers[0] if len(answers) == 1 else answers)
        return results
