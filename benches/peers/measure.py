"""What is measured, part after part; each result is a line of JSON, written as it comes."""

import argparse
import csv
import importlib.util
import json
import os
import platform
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import IO, Any

import numpy as np
from models import SHAPES, Checkpoint, made, random_ids
from workers import PEERS, Contender, Worker, WorkerError, first_answer

ROOT = Path(__file__).resolve().parents[2]
CALIBRATION = ROOT / "convert/data/calibration.txt"
RUNTIMES = [(peer, fmt) for peer, module in PEERS.items() if peer != "hf" for fmt in module.FORMATS]
# Passes of a turn: as many as take this long, but no more than these.
TURN_MS, TURN_PASSES = 60, 8
FIRST_TOKENS, FIRST_RUNS = 12, 5
BATCH_ROUNDS = 3
# The tokens of the batch's shortest and longest text.
BATCH_TOKENS = (5, 200)
# How many sequences sentence-transformers pads together, sorted by length.
SORTED_AT_ONCE = 32
# What all-MiniLM-L6-v2 takes.
MINILM_TOKENS = 256

Write = Callable[..., None]
Ids = list[list[int]]


class Bench:
    """One run: its contenders, models and results."""

    def __init__(self, options: argparse.Namespace, results: IO[str], log: IO[str], say: Callable[[str], None]) -> None:
        self.options, self.results, self.log, self.say = options, results, log, say
        flags = processor("flags") or processor("Features")
        self.flags = sorted(flags.split())
        self.amx = "amx_int8" in self.flags
        self.cpus = sorted(os.sched_getaffinity(0))

    def write(self, kind: str, **fields: Any) -> None:
        self.results.write(json.dumps({"type": kind, **fields}) + "\n")
        self.results.flush()

    def contenders(self, fp32: bool = False) -> list[Contender]:
        """Those that are asked for and can be had here; with AMX, peers both free and held."""
        found = []
        for peer, fmt in [*RUNTIMES, *([("hf", "fp32")] if fp32 else [])]:
            contender = Contender(peer, fmt)
            if self.options.only and contender.key not in self.options.only:
                continue
            if peer == "llamacpp" and not importlib.util.find_spec("llama_cpp"):
                self.skip(contender, "llama-cpp-python isn't installed")
                continue
            found.append(contender)
            if self.amx and peer not in ("rq", "hf"):
                found.append(Contender(peer, fmt, held=True))
        return found

    def skip(self, contender: Contender, why: object) -> None:
        self.say(f"SKIPPED: {contender.label}: {why}")
        self.write("skipped", peer=contender.key, label=contender.label, why=str(why))

    def build(self, contenders: list[Contender], checkpoint: Checkpoint, models: Path) -> list[Contender]:
        """Builds their models; returns those that have one."""
        built = []
        for contender in contenders:
            self.say(f"model of {contender.label}, {checkpoint.directory.name}")
            try:
                seconds = contender.build(checkpoint, models, self.log)
            except WorkerError as error:
                self.skip(contender, error)
                continue
            size = sum(file.stat().st_size for file in (models / contender.key).iterdir())
            self.write("model", peer=contender.key, checkpoint=checkpoint.directory.name, bytes=size, built_s=round(seconds, 1))
            built.append(contender)
        return built

    @contextmanager
    def workers(self, contenders: list[Contender], models: Path, threads: int) -> Iterator[list[Worker]]:
        """Workers of all contenders that start, pinned to the same processors."""
        workers: list[Worker] = []
        try:
            for contender in contenders:
                worker = Worker(contender, models, self.cpus[:threads], self.amx, self.log)
                try:
                    ready = worker.ready()
                    # Whether it works at all shows here.
                    worker.passes([random_ids(FIRST_TOKENS, 1000)])
                except WorkerError as error:
                    self.skip(contender, error)
                    continue
                self.write("worker", peer=contender.key, threads=threads, **ready)
                workers.append(worker)
            yield workers
        finally:
            for worker in workers:
                worker.close()

    def machine(self) -> None:
        rq = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
        rust = subprocess.run(["rustc", "--version"], cwd=ROOT, capture_output=True, text=True).stdout
        packages = ["onnxruntime", "openvino", "nncf", "torch", "transformers", "numpy"]
        if importlib.util.find_spec("llama_cpp"):
            packages.append("llama-cpp-python")
        self.write(
            "machine", processor=processor("model name") or platform.machine(), flags=self.flags, cpus=self.cpus,
            system=platform.platform(), python=platform.python_version(), rq=rq.strip(), rust=rust.strip(),
            packages={name: version(name) for name in packages}, date=time.strftime("%Y-%m-%d %H:%M"),
            load=os.getloadavg()[0], shape=self.options.shape,
        )

    def checkpoint(self) -> Checkpoint:
        """The shape with random weights, and roberta-large's tokenizer."""
        shape, models = self.options.shape, self.options.directory / "models"

        def make(part: Path) -> None:
            tokenizer, template = ROOT / "tests/data/roberta-large-tokenizer", part.with_suffix(".template")
            shutil.copytree(tokenizer, template, dirs_exist_ok=True)
            config = json.loads((tokenizer / "config.json").read_text()) | SHAPES[shape]
            (template / "config.json").write_text(json.dumps(config))
            program = ROOT / "target/release/examples/random_checkpoint"
            subprocess.run([program, template, part], check=True, stdout=self.log)
            shutil.rmtree(template)

        return Checkpoint(made(models / shape / "checkpoint", make), None)

    def speed(self, contenders: list[Contender], models: Path, vocabulary: int) -> None:
        for threads in self.options.threads:
            with self.workers(contenders, models, threads) as workers:
                for tokens in self.options.lengths:
                    self.say(f"{tokens} tokens, threads: {threads}")
                    self.length(workers, threads, random_ids(tokens, vocabulary))

    def length(self, workers: list[Worker], threads: int, ids: list[int]) -> None:
        """Passes of all workers by turns, in another order each round."""
        times: dict[Worker, list[float]] = {}
        passes: dict[Worker, int] = {}
        for worker in workers:
            # The first pass may compile; the second tells how many make a turn.
            try:
                estimate = worker.passes([ids], 2)[1]
            except WorkerError as error:
                self.skip(worker.contender, f"{len(ids)} tokens: {error}")
                continue
            passes[worker] = max(1, min(TURN_PASSES, round(TURN_MS / estimate)))
            times[worker] = []
        workers[:] = times
        order, generator = list(workers), random.Random(len(ids))
        for _ in range(self.options.rounds):
            generator.shuffle(order)
            for worker in order:
                times[worker] += worker.passes([ids], passes[worker])
        for worker, ms in times.items():
            lower, _, upper = quantiles(ms, n=4) if len(ms) > 1 else ms * 3
            self.write(
                "length", peer=worker.contender.key, held=worker.contender.held, label=worker.contender.label, threads=threads,
                tokens=len(ids), median_ms=median(ms), min_ms=min(ms), quartiles_ms=[lower, upper], max_ms=max(ms), passes=len(ms),
            )

    def batch(self, models: Path, vocabulary: int, available: list[Contender]) -> None:
        """Texts of mixed lengths: ragged for rq, padded for those that must; whole, and as sentence-transformers does."""
        threads = max(self.options.threads)
        generator = random.Random(1)
        texts = [random_ids(generator.randint(*BATCH_TOKENS), vocabulary, seed) for seed in range(self.options.batch)]
        by_length = sorted(texts, key=len, reverse=True)
        chunks = [by_length[i : i + SORTED_AT_ONCE] for i in range(0, len(texts), SORTED_AT_ONCE)]
        ways = {"rq": {"ragged": [texts]}, "ort": {"padded": [texts], "sorted": chunks}, "hf": {"sorted": chunks}}
        contenders = [contender for contender in available if contender.peer in ways]
        with self.workers(contenders, models, threads) as workers:
            times: dict[tuple[Worker, str], list[float]] = {}
            for round_ in range(BATCH_ROUNDS):
                for worker in workers:
                    if worker.contender.peer == "hf" and round_:
                        continue  # It takes a minute, and nobody looks at its second digit.
                    for way, requests in ways[worker.contender.peer].items():
                        self.say(f"batch: {worker.contender.label}, {way}")
                        ms = sum(worker.passes(request)[0] for request in requests)
                        times.setdefault((worker, way), []).append(ms)
        tokens = sum(map(len, texts))
        for (worker, way), ms in times.items():
            self.write(
                "batch", peer=worker.contender.key, held=worker.contender.held, label=worker.contender.label, threads=threads,
                way=way, texts=len(texts), tokens=tokens, tokens_per_s=1e3 * tokens / median(ms), ms=ms,
            )

    def first(self, contenders: list[Contender], models: Path, vocabulary: int) -> None:
        """First answers of new processes, files cached, by turns; their memory."""
        threads = max(self.options.threads)
        found: dict[Contender, list[tuple[float, int, int]]] = {}
        for round_ in range(FIRST_RUNS + 1):
            for contender in contenders:
                self.say(f"first answer: {contender.label}")
                worker = Worker(contender, models, self.cpus[:threads], self.amx, self.log)
                try:
                    sample = first_answer(worker, random_ids(FIRST_TOKENS, vocabulary))
                except WorkerError as error:
                    self.skip(contender, error)
                    continue
                worker.close()
                if round_:  # The first one reads the files.
                    found.setdefault(contender, []).append(sample)
        for contender, samples in found.items():
            ms, anonymous, resident = (median(column) for column in zip(*samples))
            self.write(
                "first", peer=contender.key, held=contender.held, label=contender.label, threads=threads, median_ms=ms,
                min_ms=min(sample[0] for sample in samples), anonymous_bytes=anonymous, resident_bytes=resident,
            )

    def fidelity(self) -> None:
        """Token vectors and similarities of all-MiniLM-L6-v2 over the STS benchmark's test split, beside fp32."""
        from tokenizers import Tokenizer

        options = self.options
        if not options.minilm.is_dir():
            subprocess.run(["bash", ROOT / ".ci/models"], check=True)
        with open(options.stsb, encoding="utf-8", newline="") as file:
            rows = [(a, b, float(score)) for a, b, score in csv.reader(file)]
        tokenizer = Tokenizer.from_file(str(options.minilm / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MINILM_TOKENS)
        sentences = {sentence: tokenizer.encode(sentence).ids for a, b, _ in rows for sentence in (a, b)}
        # By length: a model that is compiled for a shape is compiled once.
        sentences = dict(sorted(sentences.items(), key=lambda item: len(item[1])))
        scores = np.array([score for _, _, score in rows])
        models = options.directory / "models" / "all-MiniLM-L6-v2"
        checkpoint = Checkpoint(options.minilm.resolve(), CALIBRATION)
        # Held and free differ in speed, not in arithmetic that is of interest here.
        contenders = [Contender("hf", "fp32"), *(c for c in self.contenders() if not c.held)]
        reference: dict[str, np.ndarray] = {}
        for contender in self.build(contenders, checkpoint, models):
            self.say(f"fidelity: {contender.label}")
            with self.workers([contender], models, 1) as workers:
                if not workers:
                    continue
                states = token_vectors(workers[0], sentences, checkpoint.config["hidden_size"])
            means = {sentence: vectors.mean(axis=0) for sentence, vectors in states.items()}
            similarities = [float(cosines(means[a], means[b])) for a, b, _ in rows]
            fields: dict[str, Any] = {"spearman": 100 * spearman(np.array(similarities), scores)}
            if not reference:
                reference = states
            else:
                errors = np.concatenate([1 - cosines(states[s], reference[s]) for s in sentences])
                of_means = [1 - cosines(means[s], reference[s].mean(axis=0)) for s in sentences]
                fields |= {
                    "mean": float(errors.mean()), "median": float(np.median(errors)), "worst": float(errors.max()),
                    "of_means": float(np.mean(of_means)),
                }
            self.write("fidelity", peer=contender.key, label=contender.label, sentences=len(sentences), pairs=len(rows), **fields)


def processor(field: str) -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == field), "")


def token_vectors(worker: Worker, sentences: dict[str, list[int]], width: int) -> dict[str, np.ndarray]:
    with tempfile.NamedTemporaryFile() as file:
        states = {}
        for sentence, ids in sentences.items():
            worker.passes([ids], out=Path(file.name))
            states[sentence] = np.fromfile(file.name, "<f4").reshape(len(ids), width).astype(np.float64)
        return states


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation; equal values share the mean of their ranks."""

    def ranks(values: np.ndarray) -> np.ndarray:
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(count) - (count - 1) / 2)[place]

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def run(options: argparse.Namespace, say: Callable[[str], None]) -> None:
    parts = [part for part in ("speed", "batch", "first", "fidelity") if part not in options.skip]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(options.out, "w", encoding="utf-8") as results,
        open(options.directory / "log.txt", "w", encoding="utf-8") as log,
    ):
        bench = Bench(options, results, log, say)
        bench.machine()
        if set(parts) - {"fidelity"}:
            checkpoint = bench.checkpoint()
            models, vocabulary = options.directory / "models" / options.shape, checkpoint.config["vocab_size"]
            contenders = bench.build(bench.contenders(fp32=True), checkpoint, models)
            compared = [contender for contender in contenders if contender.peer != "hf"]
            if "speed" in parts:
                bench.speed(compared, models, vocabulary)
            if "batch" in parts and options.batch:
                bench.batch(models, vocabulary, contenders)
            if "first" in parts:
                bench.first(contenders, models, vocabulary)
        if "fidelity" in parts:
            if options.stsb:
                bench.fidelity()
            else:
                say("SKIPPED: fidelity: --stsb says where stsb-en-test.csv is")
