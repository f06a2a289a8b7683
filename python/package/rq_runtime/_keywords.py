"""Keywords that people know from other libraries, and what they are called here, or why there are none."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

#: Keywords, and a sentence about all of them.
_SENTENCES = [
    ("device device_map gpu use_gpu", "it computes on the CPU; threads=... of a pipeline sets on how many threads"),
    ("num_threads n_threads num_workers n_jobs", "a pipeline has threads=..., which is how many threads compute"),
    ("batch_size chunk_size", "texts are put into batches as they come, and no result depends on it; leave it out"),
    (
        "truncation max_length max_seq_length tokenizer_kwargs",
        "a text that is longer than Model.max_seq_length is an error, unless truncate=True cuts it; tagging and answering read long "
        "texts in windows",
    ),
    ("padding", "texts are computed without padding; leave it out"),
    ("dtype torch_dtype quantization load_in_8bit load_in_4bit", "how weights are stored is chosen by Model.convert(..., quant=...)"),
    (
        "convert_to_tensor convert_to_numpy convert_to_sparse_tensor return_tensors",
        "numbers are Python's own, or arrays of NumPy, of which torch.from_numpy makes tensors; leave it out",
    ),
    ("return_all_scores", "top_k=None gives the scores of all labels"),
    (
        "activation_fn activation_fct default_activation_function apply_softmax",
        "scores are made of the logits as the model's publisher says; Classifier has function_to_apply=...",
    ),
    ("grouped_entities", "it is called aggregation_strategy"),
    ("show_progress_bar", "Embedder.encode has it; elsewhere, give an iterator, and results come as they are computed"),
    ("tokenizer framework model_kwargs config", "a model is one file with its tokenizer and configuration inside; leave it out"),
    ("trust_remote_code", "a checkpoint's code is never run; leave it out"),
]
_ADVICE = {name: sentence for names, sentence in _SENTENCES for name in names.split()}


def known(function: Function) -> Function:
    """The same function, with a sentence for a keyword that it doesn't have and people know."""
    own = inspect.signature(function).parameters

    @functools.wraps(function)
    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        for name in keywords:
            if name not in own and name in _ADVICE:
                raise TypeError(f"there is no {name} here: {_ADVICE[name]}")
        return function(*arguments, **keywords)

    return cast(Function, wrapped)
