"""Checkpoints, and what peers build theirs from: a plain encoder that ONNX and OpenVINO can trace."""

import json
import math
import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    Ids = list[list[int]]

# How roberta-base differs from the configuration of roberta-large in tests/data.
SHAPES: dict[str, dict[str, int]] = {
    "roberta-large": {},
    "roberta-base": {
        "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12,
    },
}


@dataclass(frozen=True)
class Checkpoint:
    """A directory with config.json and model.safetensors, of a RoBERTa or a BERT."""

    directory: Path
    # Prose on which peers calibrate; none for random weights, which have nothing to calibrate for.
    calibration: Path | None

    @cached_property
    def config(self) -> dict[str, Any]:
        return json.loads((self.directory / "config.json").read_text())

    @property
    def position_offset(self) -> int:
        return self.config["pad_token_id"] + 1 if self.config["model_type"] == "roberta" else 0

    def tensors(self) -> "dict[str, torch.Tensor]":
        """The encoder's tensors by the names that they have in a bare RobertaModel or BertModel."""
        from safetensors.torch import load_file

        tensors = load_file(self.directory / "model.safetensors")
        first = next(name for name in tensors if name.endswith("embeddings.word_embeddings.weight"))
        prefix = first.removesuffix("embeddings.word_embeddings.weight")
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    def calibration_ids(self, texts: int) -> "Ids":
        """Sentences spread over the calibration text, as rq takes them; for random weights, random tokens."""
        if not self.calibration:
            return [random_ids(64, self.config["vocab_size"], seed) for seed in range(8)]
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.directory / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(256)
        sentences = re.split(r"(?<=[.!?])\s+", self.calibration.read_text())
        sentences = [sentence for sentence in sentences if len(sentence) >= 24]
        return [tokenizer.encode(sentence).ids for sentence in sentences[:: max(1, len(sentences) // texts)][:texts]]


def random_ids(tokens: int, vocabulary: int, seed: int | None = None) -> list[int]:
    """A sequence of random ordinary tokens between RoBERTa's <s> and </s>."""
    generator = random.Random(tokens if seed is None else seed)
    return [0, *(generator.randrange(4, vocabulary - 1) for _ in range(tokens - 2)), 2]


def made(path: Path, make: Callable[[Path], None]) -> Path:
    """`path`, a directory; made if it isn't there, and only ever there when it is whole."""
    if not path.is_dir():
        part = path.with_name(path.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        os.rename(part, path)
    return path


def plain_encoder(checkpoint: Checkpoint, sdpa: bool) -> "torch.nn.Module":
    """The encoder written out: (input_ids, attention_mask) to last_hidden_state, padding on the right.

    `sdpa` keeps attention one operator, which OpenVINO knows; ONNX Runtime's optimizer fuses the written-out form.
    """
    import torch
    from torch import nn
    from torch.nn.functional import gelu, scaled_dot_product_attention

    config = checkpoint.config
    hidden, heads, eps = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]

    def dense(columns: int, rows: int, norm: bool = False) -> nn.ModuleDict:
        parts: dict[str, nn.Module] = {"dense": nn.Linear(columns, rows)}
        if norm:
            parts["LayerNorm"] = nn.LayerNorm(rows, eps=eps)
        return nn.ModuleDict(parts)

    def layer() -> nn.ModuleDict:
        products = {name: nn.Linear(hidden, hidden) for name in ("query", "key", "value")}
        return nn.ModuleDict({
            "attention": nn.ModuleDict({"self": nn.ModuleDict(products), "output": dense(hidden, hidden, norm=True)}),
            "intermediate": dense(hidden, config["intermediate_size"]),
            "output": dense(config["intermediate_size"], hidden, norm=True),
        })

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = nn.ModuleDict({
                "word_embeddings": nn.Embedding(config["vocab_size"], hidden),
                "position_embeddings": nn.Embedding(config["max_position_embeddings"], hidden),
                "token_type_embeddings": nn.Embedding(config["type_vocab_size"], hidden),
                "LayerNorm": nn.LayerNorm(hidden, eps=eps),
            })
            self.encoder = nn.ModuleDict({
                "layer": nn.ModuleList([layer() for _ in range(config["num_hidden_layers"])]),
            })

        def attention(self, parts: nn.ModuleDict, x: "torch.Tensor", mask: "torch.Tensor") -> "torch.Tensor":
            def split(name: str) -> "torch.Tensor":
                return parts[name](x).view(x.size(0), x.size(1), heads, hidden // heads).permute(0, 2, 1, 3)

            query, key, value = split("query"), split("key"), split("value")
            if sdpa:
                context = scaled_dot_product_attention(query, key, value, attn_mask=mask)
            else:
                scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(hidden // heads) + mask
                context = torch.matmul(torch.softmax(scores, dim=-1), value)
            context = context.permute(0, 2, 1, 3).contiguous()
            return context.view(context.size(0), context.size(1), hidden)

        def forward(self, input_ids: "torch.Tensor", attention_mask: "torch.Tensor") -> "torch.Tensor":
            mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * -10000.0
            positions = torch.cumsum(torch.ones_like(input_ids), dim=1) - 1 + checkpoint.position_offset
            tables = self.embeddings
            x = tables["word_embeddings"](input_ids) + tables["token_type_embeddings"].weight[0]
            x = tables["LayerNorm"](x + tables["position_embeddings"](positions))
            for block in self.encoder["layer"]:
                output = block["attention"]["output"]
                context = self.attention(block["attention"]["self"], x, mask)
                x = output["LayerNorm"](output["dense"](context) + x)
                output = block["output"]
                x = output["LayerNorm"](output["dense"](gelu(block["intermediate"]["dense"](x))) + x)
            return x

    encoder = Encoder()
    missing, _ = encoder.load_state_dict(checkpoint.tensors(), strict=False)
    if missing:
        raise ValueError(f"{checkpoint.directory}: no tensors {missing}")
    return encoder.eval()
