"""Write the goldens: what Hugging Face transformers, in fp32 on the CPU, answers to inputs.json.

    python3 -m venv venv && venv/bin/pip install -r tests/goldens/requirements.txt
    venv/bin/python tests/goldens/generate.py

The committed files were made with Python 3.11, transformers 5.24.0, tokenizers 0.23.3, torch 2.15.0, safetensors 0.8.0
and numpy 2.4.6. README.md beside this file says what each of them holds. It takes half a minute, and needs no network.
"""

import argparse
import json
import logging
import os
from importlib.metadata import version
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM, AutoTokenizer, pipeline
from transformers.utils.logging import disable_progress_bar

HERE = Path(__file__).resolve().parent
MODELS = ("sapiens-vh", "demo-model")
DEMO_LOGITS = 24  # the logits of a mask take 48 KiB, so only these first cases carry them


class Oracle:
    """A masked language model and its tokenizer, weights widened to f32, attention spelled out."""

    def __init__(self, folder):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForMaskedLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.fill = pipeline("fill-mask", model=self.model, tokenizer=self.tokenizer, device="cpu")

    def case(self, text, hidden, logits):
        """The JSON record of one text, and its tensors. `hidden` and `logits`: rows to keep, "all", "masks" or "none"."""
        ids = self.tokenizer(text)["input_ids"]
        masks = [i for i, token in enumerate(ids) if token == self.tokenizer.mask_token_id]
        out = self.model(torch.tensor([ids]), output_hidden_states=True)
        probabilities, tokens = out.logits[0, masks].softmax(-1).topk(2)
        record = {"text": text, "ids": ids, "mask_positions": masks, "hidden": hidden, "logits": logits}
        for k in (0, 1):
            record[f"top{k + 1}"] = tokens[:, k].tolist()
            record[f"p{k + 1}"] = probabilities[:, k].tolist()
        rows = {"all": slice(None), "masks": masks}
        kept = {"hidden": (out.hidden_states[-1][0], hidden), "logits": (out.logits[0], logits)}
        tensors = {name: x[rows[keep]].numpy() for name, (x, keep) in kept.items() if keep != "none"}
        return record, tensors


def made_with():
    packages = ("transformers", "tokenizers", "torch", "safetensors", "numpy")
    return {name: version(name) for name in packages} | {"torch_cpu": torch.backends.cpu.get_cpu_capability()}


def write_json(path, cases, **header):
    """One case a line, all in ASCII, so that a diff can be read whatever the texts hold."""
    head = json.dumps({"made_with": made_with()} | header)
    lines = ",\n".join(json.dumps(case) for case in cases)
    path.write_text(f'{head[:-1]}, "cases": [\n{lines}\n]}}\n')


def write_cases(out, name, cases, **header):
    records, tensors = zip(*cases)
    flat = {f"{kind}.{i}": np.ascontiguousarray(x) for i, t in enumerate(tensors) for kind, x in t.items()}
    save_file(flat, out / f"{name}.safetensors")
    write_json(out / f"{name}.json", records, model=name, **header)


def write_sapiens(out, oracle, inputs):
    """Whole texts, then the sequence with each residue masked in turn."""
    sequence = inputs["sequence"]
    whole = [oracle.case(text, "all", "all") for text in inputs["texts"]]
    single = [
        oracle.case(f"{sequence[:i]}<mask>{sequence[i + 1:]}", "masks", "masks") for i in range(len(sequence))
    ]

    masked, tensors = whole[0]
    residues = [oracle.tokenizer.convert_tokens_to_ids(aa) for aa in "ACDE"]
    scores = torch.tensor(tensors["logits"]).softmax(-1)[1:6, residues]
    published = torch.tensor(inputs["published_scores"])
    assert torch.allclose(scores, published, rtol=0, atol=1e-6), (scores, published)

    truth = oracle.tokenizer(sequence)["input_ids"][1:-1]
    filled = np.array(masked["ids"])
    filled[masked["mask_positions"]] = masked["top1"]
    header = {
        "sequence": sequence,
        "filled": oracle.tokenizer.decode(filled, skip_special_tokens=True),
        "unmasked_right": int((whole[1][1]["logits"][1:-1].argmax(-1) == truth).sum()),
        "one_at_a_time_right": sum(record["top1"] == [t] for (record, _), t in zip(single, truth)),
    }
    write_cases(out, "sapiens-vh", whole + single, **header)


def write_demo(out, oracle, texts):
    keep = ["masks" if i < DEMO_LOGITS else "none" for i in range(len(texts))]
    write_cases(out, "demo-model", [oracle.case(text, "all", logits) for text, logits in zip(texts, keep)])


def write_fill(out, oracles, calls):
    """Each call's result, or the error that it raised, and the warnings on its targets."""
    warnings = []
    handler = logging.Handler()
    handler.emit = lambda log: warnings.append(log.getMessage())
    logging.getLogger("transformers.pipelines.fill_mask").addHandler(handler)

    def answer(call):
        warnings.clear()
        options = {key: call[key] for key in ("top_k", "targets") if key in call}
        record = {"model": call["model"], "text": call["text"], "top_k": None, "targets": None} | options
        try:
            return record | {"result": oracles[call["model"]].fill(call["text"], **options), "warnings": list(warnings)}
        except Exception as error:
            return record | {"error": f"{type(error).__name__}: {error}", "warnings": list(warnings)}

    write_json(out / "fill.json", [answer(call) for call in calls])


def write_tokenizer(out, data, texts):
    """Ids, and offsets where every byte has a token: past a byte that has none, `tokenizers` misplaces them."""

    def case(name, tokenizer, text):
        encoding = tokenizer.encode(text)
        offsets = {} if name == "sapiens-vh" else {"offsets": encoding.offsets}
        return {"model": name, "text": text, "ids": encoding.ids} | offsets

    cases = []
    for name, kind in (("roberta-large-tokenizer", "english"), ("demo-model", "english"), ("sapiens-vh", "sapiens-vh")):
        tokenizer = Tokenizer.from_file(str(data / name / "tokenizer.json"))
        made = [case(name, tokenizer, text) for text in texts[kind]]
        auto = AutoTokenizer.from_pretrained(data / name)
        assert all(auto(c["text"])["input_ids"] == c["ids"] for c in made), name
        cases += made
    write_json(out / "tokenizer.json", cases)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HERE.parent / "data", help="folder of the models")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to")
    args = parser.parse_args()

    torch.set_num_threads(1)
    disable_progress_bar()
    inputs = json.loads((HERE / "inputs.json").read_text())
    oracles = {name: Oracle(args.data / name) for name in MODELS}
    args.out.mkdir(parents=True, exist_ok=True)
    write_sapiens(args.out, oracles["sapiens-vh"], inputs["sapiens-vh"])
    write_demo(args.out, oracles["demo-model"], inputs["demo-model"])
    write_fill(args.out, oracles, inputs["fill"])
    write_tokenizer(args.out, args.data, inputs["tokenizer"])


if __name__ == "__main__":
    main()
