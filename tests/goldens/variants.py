"""Write variants/ and variants.json: tiny random models that differ from roberta-large in one thing each, and what
Hugging Face transformers, in fp32 on the CPU, answers for them.

    venv/bin/python tests/goldens/variants.py

README.md beside this file says how the environment is made, and which versions made the committed files.
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM, RobertaConfig, RobertaForMaskedLM

HERE = Path(__file__).resolve().parent
# Heads of 6, and the padding token inside the text.
SHAPE = dict(vocab_size=19, hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20,
             max_position_embeddings=10, type_vocab_size=2, layer_norm_eps=1e-5)
IDS = [0, 4, 1, 5, 18, 1, 2]
WORD = "roberta.embeddings.word_embeddings.weight"


def own_decoder(tensors):
    tensors["lm_head.decoder.weight"] = torch.randn(19, 12)
    tensors["lm_head.decoder.bias"] = torch.randn(19)


def only_decoder(tensors):
    tensors["lm_head.decoder.weight"] = tensors.pop(WORD)
    tensors["lm_head.decoder.bias"] = tensors.pop("lm_head.bias")


def no_prefix(tensors):
    for name in [name for name in tensors if name.startswith("roberta.")]:
        tensors[name.removeprefix("roberta.")] = tensors.pop(name)


VARIANTS = {
    "tanh": (dict(hidden_act="gelu_new"), None),
    "fast": (dict(hidden_act="gelu_fast"), no_prefix),
    "untied": (dict(tie_word_embeddings=False), None),
    "untied-against-config": (dict(), own_decoder),
    "only-decoder": (dict(hidden_act="gelu_pytorch_tanh"), only_decoder),
}


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shutil.rmtree(HERE / "variants", ignore_errors=True)
    answers = []
    for name, (fields, change) in VARIANTS.items():
        folder = HERE / "variants" / name
        model = RobertaForMaskedLM(RobertaConfig(**SHAPE, **fields))
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.5)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if change:
            tensors = load_file(folder / "model.safetensors")
            change(tensors)
            tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        with torch.no_grad():
            out = model(torch.tensor([IDS]), output_hidden_states=True)
        answers.append({"model": name, "ids": IDS, "hidden": out.hidden_states[-1][0].flatten().tolist(),
                        "logits": out.logits[0].flatten().tolist()})
    made_with = {package: version(package) for package in ("transformers", "torch", "safetensors")}
    text = json.dumps({"made_with": made_with, "cases": answers})
    (HERE / "variants.json").write_text(text + "\n")


main()
