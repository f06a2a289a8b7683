"""Writes pytorch_model.bin and pytorch_model_legacy.bin: the small model of `common/mod.rs`, as torch itself saves it, and as it did
before 1.6.

    python torch_file.py      # with torch 2.15; the values need no other package

The tensors have the values of `common::tensors`. What a checkpoint may hold besides plain f32 is spread over them: other
types, transposed and expanded views, views into a larger storage, two names for one storage, parameters, tensors that the
model doesn't need, and a state dictionary's `_metadata`.
"""

from collections import OrderedDict
from pathlib import Path

import torch

VOCAB, HIDDEN, INTERMEDIATE, POSITIONS = 19, 12, 20, 10


def tensors():
    seed = 1

    def values(*shape):
        nonlocal seed
        count = torch.Size(shape).numel()
        numbers = []
        for _ in range(count):
            seed = (seed * 1664525 + 1013904223) % 2**32
            numbers.append(((seed >> 24) - 128.0) / 64.0)
        return torch.tensor(numbers).reshape(shape)

    state = OrderedDict()
    for table, rows in [("word", VOCAB), ("position", POSITIONS), ("token_type", 1)]:
        state[f"roberta.embeddings.{table}_embeddings.weight"] = values(rows, HIDDEN)
    state["lm_head.bias"] = values(VOCAB)

    def with_bias(name, *shape):
        state[f"{name}.weight"] = values(*shape)
        state[f"{name}.bias"] = values(shape[0])

    with_bias("roberta.embeddings.LayerNorm", HIDDEN)
    for n in range(2):
        layer = f"roberta.encoder.layer.{n}"
        for part in ["query", "key", "value"]:
            with_bias(f"{layer}.attention.self.{part}", HIDDEN, HIDDEN)
        with_bias(f"{layer}.attention.output.dense", HIDDEN, HIDDEN)
        with_bias(f"{layer}.attention.output.LayerNorm", HIDDEN)
        with_bias(f"{layer}.intermediate.dense", INTERMEDIATE, HIDDEN)
        with_bias(f"{layer}.output.dense", HIDDEN, INTERMEDIATE)
        with_bias(f"{layer}.output.LayerNorm", HIDDEN)
    with_bias("lm_head.dense", HIDDEN, HIDDEN)
    with_bias("lm_head.layer_norm", HIDDEN)
    return state


def main():
    state = tensors()

    def change(name, function):
        before = state[name]
        state[name] = function(before)
        assert torch.equal(before.float(), state[name].float()), name

    first, second = (f"roberta.encoder.layer.{n}" for n in range(2))
    for part, dtype in [("query", torch.float64), ("key", torch.float16), ("value", torch.bfloat16)]:
        change(f"{first}.attention.self.{part}.weight", lambda x: x.to(dtype))
        change(f"{first}.attention.self.{part}.bias", lambda x: x.to(dtype))
    change(f"{first}.intermediate.dense.weight", lambda x: x.T.contiguous().T)
    change(f"{second}.output.dense.weight", lambda x: x.half().T.contiguous().T)
    # Every second element of every second row of something larger, from its second row on.
    change(
        "lm_head.dense.weight",
        lambda x: torch.zeros(2 * HIDDEN + 1, 2 * HIDDEN).index_put_(
            (torch.arange(1, 2 * HIDDEN + 1, 2)[:, None], torch.arange(0, 2 * HIDDEN, 2)), x
        )[1::2, ::2],
    )
    change("lm_head.bias", lambda x: torch.stack([x, -x], 1)[:, 0])
    # Three in one storage.
    names = [f"{second}.attention.self.{part}.weight" for part in ["query", "key", "value"]]
    for name, part in zip(names, torch.cat([state[name] for name in names]).split(HIDDEN)):
        change(name, lambda _: part)
    change("lm_head.dense.bias", torch.nn.Parameter)
    change("roberta.embeddings.LayerNorm.weight", lambda x: torch.nn.Parameter(x, requires_grad=False))

    # What the model doesn't need.
    state["lm_head.decoder.weight"] = state["roberta.embeddings.word_embeddings.weight"]
    state["roberta.embeddings.position_ids"] = torch.arange(POSITIONS).expand(1, -1)
    state["roberta.pooler.dense.weight"] = torch.tensor(0.5).expand(HIDDEN, HIDDEN)
    state["scalar"] = torch.tensor(7)
    state["empty"] = torch.zeros(0, 3)
    state["flags"] = torch.tensor([True, False])
    state["bytes"] = torch.tensor([1, 2], dtype=torch.uint8)
    state["ints"] = torch.tensor([-1, 70000], dtype=torch.int32)
    state._metadata = OrderedDict({"": {"version": 1}, "roberta": {"version": 1}})
    directory = Path(__file__).parent
    torch.save(state, directory / "pytorch_model.bin")
    torch.save(state, directory / "pytorch_model_legacy.bin", _use_new_zipfile_serialization=False)


main()
