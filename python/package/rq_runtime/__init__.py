"""RoBERTa and its family on a CPU, from one quantized file.

>>> from rq_runtime import FillMask, Model
>>> fill = FillMask(Model.demo())
>>> fill("She opened the <mask> and walked into the garden.")[0]["token_str"]
' door'

A `Model` is a mapped file. A pipeline computes with it, on as many threads as it is told, one by default:
`FillMask`, `Scorer`, `Embedder`, `SparseEmbedder`, `Classifier`, `ZeroShot`, `CrossEncoder`, `Tagger` and `Answerer`.
A text has the same result, to the bit, on every machine, with any number of threads, and among any other texts.
"""

from ._embeddings import Embedder, SparseEmbedder, quantize_embeddings
from ._errors import ConversionError, Error, FileError, ModelError, TaskError, TextError
from ._labels import Classifier, CrossEncoder, ZeroShot
from ._model import Model
from ._native import Embeddings
from ._results import SparseEmbeddings
from ._spans import Answerer, Tagger
from ._words import FillMask, Scorer

__all__ = [
    "Answerer",
    "Classifier",
    "ConversionError",
    "CrossEncoder",
    "Embedder",
    "Embeddings",
    "Error",
    "FileError",
    "FillMask",
    "Model",
    "ModelError",
    "Scorer",
    "SparseEmbedder",
    "SparseEmbeddings",
    "Tagger",
    "TaskError",
    "TextError",
    "ZeroShot",
    "quantize_embeddings",
]
