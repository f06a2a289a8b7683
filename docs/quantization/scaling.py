#!/usr/bin/env python3
"""What scaling the columns behind a LayerNorm would do for q8, simulated.

    scaling.py CHECKPOINT TEXT

CHECKPOINT is a folder for transformers, TEXT has a sentence a line: those of odd number calibrate, the others are evaluated, 150
of each at most.

Weights and activations are rounded to 8 bits in blocks of 32 columns, embeddings too; scores, contexts and all else stay f32, which
isn't quite what rq does. Queries, keys and values, and the first feed-forward layer, read what a LayerNorm gave. A column j of that
can be divided by s_j if the weights' column is multiplied by it: s = sqrt(size of the activations / size of the weights), to a
geometric mean of 1, so that no column makes the block around it coarse. Sizes are root mean squares, measured; or, without a text,
sqrt(gamma^2 + beta^2) of the LayerNorm. With powers of two the division is exact.

Written with Python 3.11, torch 2.15.0 and transformers 4.57.6. Deterministic.
"""
import re
import sys

import torch
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer

BLOCK, TEXTS = 32, 150


def rounded(x):
    """In 8 bits, in blocks along the last dimension."""
    size = x.shape[-1]
    blocks = F.pad(x, (0, -size % BLOCK)).unflatten(-1, (-1, BLOCK))
    step = blocks.abs().amax(-1, keepdim=True) / 127
    step[step == 0] = 1
    return ((blocks / step).round() * step).flatten(-2)[..., :size]


def rms(x):
    return x.square().mean(0).sqrt()


@torch.no_grad()
def main(checkpoint, text):
    torch.manual_seed(0)
    model = AutoModel.from_pretrained(checkpoint).float().eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    lines = [line.strip() for line in open(text, encoding="utf-8") if line.strip()]
    calibration, evaluation = lines[0::2][:TEXTS], lines[1::2][:TEXTS]
    modules = dict(model.named_modules())
    linear = {name: m for name, m in modules.items() if isinstance(m, torch.nn.Linear) and "pooler" not in name}
    weights = {name: m.weight.clone() for name, m in linear.items()}
    words = model.embeddings.word_embeddings.weight

    def run(sentence):
        return model(**tokenizer(sentence, return_tensors="pt", truncation=True, max_length=128)).last_hidden_state[0]

    def norm_before(name):
        layer = int(re.search(r"layer\.(\d+)", name)[1])
        if "attention.self" in name:
            return modules[f"encoder.layer.{layer - 1}.output.LayerNorm" if layer else "embeddings.LayerNorm"]
        return modules[f"encoder.layer.{layer}.attention.output.LayerNorm"] if "intermediate" in name else None

    def together(name):
        """The matrices that read the same rows: those of queries, keys and values are one product."""
        return [other for other in linear if "attention.self" in name and other.startswith(name.rpartition(".")[0])] or [name]

    inputs = {name: [] for name in linear}
    hooks = [m.register_forward_pre_hook(lambda _, x, name=name: inputs[name].append(x[0][0])) for name, m in linear.items()]
    for sentence in calibration:
        run(sentence)
    for hook in hooks:
        hook.remove()
    measured = {name: rms(torch.cat(rows)) for name, rows in inputs.items()}
    exact = [run(sentence) for sentence in evaluation]
    words.copy_(rounded(words))

    def evaluate(label, size, power_of_two=False):
        hooks = []
        for name, module in linear.items():
            scale = torch.ones(module.in_features)
            if size is not None and (norm := norm_before(name)) is not None:
                matrix = rms(torch.cat([weights[other] for other in together(name)]))
                scale = (size(name, norm).clamp(min=1e-4) / matrix.clamp(min=1e-4)).sqrt()
                scale /= scale.log().mean().exp()
                scale = torch.exp2(scale.log2().round()) if power_of_two else scale
            module.weight.copy_(rounded(weights[name] * scale))
            hooks.append(module.register_forward_pre_hook(lambda _, x, scale=scale: (rounded(x[0] / scale),)))
        found = [run(sentence) for sentence in evaluation]
        for hook in hooks:
            hook.remove()
        tokens = torch.cat([1 - F.cosine_similarity(a, b, dim=-1) for a, b in zip(found, exact)])
        means = torch.stack([1 - F.cosine_similarity(a.mean(0), b.mean(0), dim=0) for a, b in zip(found, exact)])
        print(f"| {label} | {tokens.mean():.2e} | {means.mean():.2e} |", flush=True)

    print("| columns | 1-cos, tokens | of the texts' means |\n|---|---|---|")
    evaluate("as they are", None)
    evaluate("by gamma and beta", lambda _, norm: (norm.weight.square() + norm.bias.square()).sqrt())
    evaluate("measured", lambda name, _: measured[name])
    evaluate("measured, powers of two", lambda name, _: measured[name], power_of_two=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
