"""Embeddings: dense, of tokens, and sparse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, Optional, Union, cast, overload

from . import _native
from ._inputs import BATCH_SIZE, Arrow, batches, is_text, several, text, text_or_none, whole
from ._pipeline import Pipeline
from ._results import SparseEmbeddings

if TYPE_CHECKING:
    # It takes longer to import than all of this, and not every task needs it.
    import numpy as np
    import numpy.typing as npt

    _Matrix = npt.NDArray[Any]

Precision = Literal["float32", "float16", "int8", "uint8", "binary", "ubinary"]
Pooling = Literal["cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def quantize_embeddings(
    embeddings: npt.NDArray[np.float32],
    precision: Precision,
    ranges: Optional[npt.NDArray[np.float32]] = None,
) -> _Matrix:
    """Embeddings in fewer bits, as sentence-transformers' function of that name.

    ``int8`` and ``uint8`` divide the range of each dimension into 256 steps; ``ranges`` are the least and the largest values, and by
    default those of the embeddings themselves. ``binary`` and ``ubinary`` keep the sign of each value.
    """
    import numpy as np

    if precision == "float32":
        return embeddings
    if precision == "float16":
        with np.errstate(over="raise"):
            return embeddings.astype(np.float16)
    if precision in ("binary", "ubinary"):
        bits = np.packbits(embeddings > 0, axis=-1)
        return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    if precision not in ("int8", "uint8"):
        raise ValueError(f"precision is {precision!r}; it can be float32, float16, int8, uint8, binary or ubinary")
    if ranges is None:
        if len(embeddings) < 2:
            raise ValueError(f"{precision} steps are those between the least and the largest of several embeddings: quantize_embeddings(..., ranges=...)")
        ranges = np.stack([embeddings.min(axis=0), embeddings.max(axis=0)])
    start, end = ranges
    step = (end - start) / 255
    step = np.where(step == 0, 1, step)
    steps = np.clip(np.floor((embeddings - start) / step), 0, 255)
    quantized: _Matrix = steps.astype(np.uint8) if precision == "uint8" else (steps - 128).astype(np.int8)
    return quantized


class Embedder(Pipeline):
    """Computes embeddings, as ``SentenceTransformer`` of sentence-transformers.

    >>> from rq_runtime import Model
    >>> embedder = Embedder(Model.demo())
    >>> embedder.encode(["A cat.", "A dog."]).shape
    (2, 256)
    """

    @overload
    def encode(
        self,
        sentences: Union[str, Iterable[str], Arrow],
        *,
        prompt_name: Optional[str] = None,
        prompt: Optional[str] = None,
        batch_size: int = BATCH_SIZE,
        show_progress_bar: bool = False,
        output_value: Literal["sentence_embedding"] = "sentence_embedding",
        precision: Precision = "float32",
        normalize_embeddings: bool = False,
        truncate_dim: Optional[int] = None,
        pooling: Optional[Pooling] = None,
        truncate: bool = False,
    ) -> _Matrix: ...
    @overload
    def encode(
        self,
        sentences: Union[str, Iterable[str], Arrow],
        *,
        prompt_name: Optional[str] = None,
        prompt: Optional[str] = None,
        output_value: Literal["token_embeddings"],
        normalize_embeddings: bool = False,
        truncate_dim: Optional[int] = None,
        truncate: bool = False,
    ) -> Union[_Matrix, list[_Matrix]]: ...
    def encode(
        self,
        sentences: Union[str, Iterable[str], Arrow],
        *,
        prompt_name: Optional[str] = None,
        prompt: Optional[str] = None,
        batch_size: int = BATCH_SIZE,
        show_progress_bar: bool = False,
        output_value: Literal["sentence_embedding", "token_embeddings"] = "sentence_embedding",
        precision: Precision = "float32",
        normalize_embeddings: bool = False,
        truncate_dim: Optional[int] = None,
        pooling: Optional[Pooling] = None,
        truncate: bool = False,
    ) -> Union[_Matrix, list[_Matrix]]:
        """A row for each text; the row alone of a single text.

        Pooled and normalized as the model's publisher says; ``normalize_embeddings`` divides each by its length in any case.
        ``truncate_dim`` keeps the first dimensions. A text that is too long is an error, unless ``truncate`` cuts it.
        ``show_progress_bar`` needs tqdm, and computes ``batch_size`` texts at a time.

        With ``output_value="token_embeddings"``, a matrix for each text, with a row for each token.
        """
        options = self._options(prompt_name, prompt, normalize_embeddings, truncate_dim, pooling, truncate)
        whole(batch_size=batch_size)
        one = is_text(sentences)
        texts = several([sentences] if one else sentences, text)
        if output_value == "token_embeddings":
            matrices: list[_Matrix] = list(self._session.embed_tokens(texts, options))
            return matrices[0] if one else matrices
        if output_value != "sentence_embedding":
            raise ValueError(f"output_value is {output_value!r}; it can be sentence_embedding or token_embeddings")
        if show_progress_bar:
            embeddings = self._with_progress(texts, options, batch_size)
        else:
            embeddings = self._session.embed(texts, options)
        rows = quantize_embeddings(embeddings, precision)
        return cast("_Matrix", rows[0]) if one else rows

    def encode_arrow(
        self,
        sentences: Union[Iterable[Optional[str]], Arrow],
        *,
        prompt_name: Optional[str] = None,
        prompt: Optional[str] = None,
        normalize_embeddings: bool = False,
        truncate_dim: Optional[int] = None,
        pooling: Optional[Pooling] = None,
        truncate: bool = False,
    ) -> _native.Embeddings:
        """The same rows in Arrow, float32, without a copy; null where the text is null.

        ``pyarrow.array(...)``, ``polars.Series(...)`` and whatever else knows the Arrow PyCapsule interface takes them.
        """
        options = self._options(prompt_name, prompt, normalize_embeddings, truncate_dim, pooling, truncate)
        return self._session.embed_arrow(several(sentences, text_or_none), options)

    def similarity(self, a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The cosine of each row of ``a`` with each row of ``b``."""
        import numpy as np

        a, b = np.atleast_2d(a), np.atleast_2d(b)
        lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
        return cast("npt.NDArray[np.float32]", a @ b.T / np.where(lengths == 0, 1, lengths))

    def dimension(self, truncate_dim: Optional[int] = None) -> int:
        """The width of an embedding."""
        return self._session.dimension(self._options(None, None, False, truncate_dim, None, False))

    def _with_progress(self, texts: list[str], options: _native.Embed, batch_size: int) -> npt.NDArray[np.float32]:
        try:
            from tqdm import tqdm
        except ImportError:
            raise ImportError("show_progress_bar needs tqdm: pip install 'rq-runtime[progress]'") from None
        import numpy as np

        embeddings = np.empty((len(texts), self._session.dimension(options)), dtype=np.float32)
        done = 0
        with tqdm(total=len(texts), unit=" texts") as bar:
            for batch in batches(texts, batch_size):
                embeddings[done : done + len(batch)] = self._session.embed(batch, options)
                done += len(batch)
                bar.update(len(batch))
        return embeddings

    @staticmethod
    def _options(
        prompt_name: Optional[str],
        prompt: Optional[str],
        normalize: bool,
        dimension: Optional[int],
        pooling: Optional[str],
        truncate: bool,
    ) -> _native.Embed:
        whole(truncate_dim=dimension)
        return {
            "prompt_name": text_or_none(prompt_name, "prompt_name"),
            "prompt": text_or_none(prompt, "prompt"),
            # Without it, what the model's file says.
            "normalize": True if normalize else None,
            "dimension": dimension,
            "pooling": pooling,
            "truncate": truncate,
        }


class SparseEmbedder(Pipeline):
    """Computes sparse embeddings (SPLADE) with a masked language model that was trained for it, as ``SparseEncoder``."""

    def _compute_nothing(self) -> object:
        return self._session.sparse([], None, None, False)

    def encode(
        self,
        sentences: Union[Iterable[str], Arrow],
        *,
        prompt_name: Optional[str] = None,
        max_active_dims: Optional[int] = None,
        truncate: bool = False,
    ) -> SparseEmbeddings:
        """A sparse row for each text, with a column for each entry of the vocabulary."""
        import numpy as np

        whole(max_active_dims=max_active_dims)
        prompt_name = text_or_none(prompt_name, "prompt_name")
        rows, width = self._session.sparse(several(sentences, text), max_active_dims, prompt_name, truncate)
        lengths = [len(indices) for indices, _ in rows]
        return SparseEmbeddings(
            data=np.array([value for _, values in rows for value in values], dtype=np.float32),
            indices=np.array([index for indices, _ in rows for index in indices], dtype=np.int32),
            indptr=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            shape=(len(rows), width),
        )
