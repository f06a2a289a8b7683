"""Lines a second of embeddings: rq, sentence-transformers and ONNX Runtime int8, by turns in one process.

    ENVIRONMENT/bin/python benches/lines.py --models DIRECTORY --text FILE... [--count 20000] [--threads 1,2] [--out FILE]

With the environment and the models that `benches/peers/run.py` makes (below ~/.cache/rq-peers), and the wheel of `python/` installed
there. Each contender embeds the same lines of the texts with all-MiniLM-L6-v2, a thousand at a time, in turns whose order
changes. sentence-transformers sorts and pads 32 at a time, as it does by default, and so does what runs ONNX Runtime; rq takes the
lines as they come. Texts are cut at 256 tokens, which is the model's limit. The result is a line of JSON for each contender and
number of threads, with the median and the quartiles of lines a second over the turns, the total, and the machine.
"""

import argparse
import json
import os
import platform
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "peers"))

Encode = Callable[[list[str]], np.ndarray]
TURN = 1000


def rq(models: Path, source: Path, threads: int) -> Encode:
    from rq_runtime import Embedder, Model

    embedder = Embedder(Model.open(models / "rq-q8/model.rq"), threads=threads)
    return lambda lines: embedder.encode(lines, truncate=True)


def sentence_transformers(models: Path, source: Path, threads: int) -> Encode:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(source), device="cpu")
    return lambda lines: model.encode(lines, batch_size=32, show_progress_bar=False)


def onnx_runtime(models: Path, source: Path, threads: int) -> Encode:
    import ort
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    run = ort.load(models / "ort-q8", "q8", threads)

    def encode(lines: list[str]) -> np.ndarray:
        order = sorted(range(len(lines)), key=lambda i: -len(lines[i]))
        rows = np.empty((len(lines), 384), dtype=np.float32)
        for start in range(0, len(order), 32):
            batch = order[start : start + 32]
            encoded = tokenizer.encode_batch_fast([lines[i] for i in batch])
            ids, mask = (np.array([getattr(e, field) for e in encoded]) for field in ("ids", "attention_mask"))
            states = run(ids.astype(np.int64), mask.astype(np.int64))
            sums = (states * mask[:, :, None]).sum(axis=1)
            rows[batch] = sums / np.linalg.norm(sums, axis=1, keepdims=True)
        return rows

    return encode


CONTENDERS = {"rq q8": rq, "sentence-transformers, torch fp32": sentence_transformers, "ONNX Runtime int8": onnx_runtime}


def lines_of(files: list[Path], count: int) -> list[str]:
    """So many lines of the files, as many of each, in a random order that is always the same."""
    shuffle = random.Random(0)
    mixed: list[str] = []
    for file in files:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if len(line.split()) > 3]
        mixed += shuffle.choices(lines, k=-(-count // len(files)))
    shuffle.shuffle(mixed)
    return mixed[:count]


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description="Lines a second of embeddings, by turns.")
    parser.add_argument("--models", type=Path, required=True, help="models/all-MiniLM-L6-v2 of benches/peers")
    parser.add_argument("--source", type=Path, default=Path.home() / ".cache/rq-models/all-MiniLM-L6-v2")
    parser.add_argument("--text", type=Path, nargs="+", required=True)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--out", type=Path, default=Path("lines.jsonl"))
    options = parser.parse_args()
    lines = lines_of(options.text, options.count)
    for threads in map(int, options.threads.split(",")):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        encoders = {name: make(options.models, options.source, threads) for name, make in CONTENDERS.items()}
        first = {name: encode(lines[:64]) for name, encode in encoders.items()}
        rates: dict[str, list[float]] = {name: [] for name in encoders}
        spent = dict.fromkeys(encoders, 0.0)
        names = list(encoders)
        for start in range(0, len(lines), TURN):
            turn = lines[start : start + TURN]
            random.Random(start).shuffle(names)
            for name in names:
                begun = time.perf_counter()
                encoders[name](turn)
                seconds = time.perf_counter() - begun
                spent[name] += seconds
                rates[name].append(len(turn) / seconds)
        with options.out.open("a", encoding="utf-8") as out:
            for name in encoders:
                quartiles = statistics.quantiles(rates[name], n=4) if len(rates[name]) > 1 else rates[name] * 3
                cosines = (first[name] * first["sentence-transformers, torch fp32"]).sum(axis=1)
                row = {
                    "contender": name, "threads": threads, "lines": len(lines), "seconds": round(spent[name], 1),
                    "lines_per_second": [round(q, 1) for q in quartiles], "mean_1_cos": float(1 - cosines.mean()),
                    "processor": processor(), "load": os.getloadavg()[0],
                }
                print(json.dumps(row), file=out)
                print(json.dumps(row))
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB resident, all together")


if __name__ == "__main__":
    main()
