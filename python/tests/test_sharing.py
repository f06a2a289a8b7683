"""Arrow, threads, forks, pickles and Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rq_runtime import Embedder, FillMask, Model

TEXTS = ["A cat.", "Zwei Wörter", "", "猫が好き"]


def arrays() -> list[Any]:
    plain = pa.array(TEXTS)
    return [
        plain,
        pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
        plain.cast(pa.large_string()),
        plain.cast(pa.string_view()),
        plain.dictionary_encode(),
        pa.array(["x", *TEXTS, "y"])[1:-1],
        pa.table({"text": TEXTS}),
        pa.record_batch({"text": TEXTS}),
    ]


def test_arrow() -> None:
    embedder = Embedder(Model.demo())
    expected = embedder.encode(TEXTS)
    for array in arrays():
        assert embedder.encode(array).tobytes() == expected.tobytes()
        rows = pa.array(embedder.encode_arrow(array))
        assert rows.type == pa.list_(pa.field("item", pa.float32(), nullable=False), 256)
        assert rows.flatten().to_numpy().tobytes() == expected.tobytes()


def test_nulls() -> None:
    embedder = Embedder(Model.demo())
    texts = pa.array(["A cat.", None, "A dog."])
    rows = pa.array(embedder.encode_arrow(texts))
    assert rows.is_valid().to_pylist() == [True, False, True]
    assert np.array(rows[2].as_py(), dtype=np.float32).tobytes() == embedder.encode("A dog.").tobytes()
    assert pa.array(embedder.encode_arrow(pa.nulls(2))).null_count == 2
    with pytest.raises(ValueError, match="text 2 of 3 is null"):
        embedder.encode(texts)
    with pytest.raises(TypeError, match="Int64"):
        embedder.encode(pa.array([1]))
    with pytest.raises(TypeError, match="pass the column"):
        embedder.encode(pa.table({"a": ["x"], "b": ["y"]}))


def test_an_arrow_stream_that_fails_says_why() -> None:
    def batches() -> Any:
        yield pa.record_batch({"text": ["a"]})
        raise RuntimeError("the disk is gone")

    schema = pa.schema({"text": pa.string()})
    reader = pa.RecordBatchReader.from_batches(schema, batches())
    with pytest.raises(ValueError, match="the disk is gone"):
        Embedder(Model.demo()).encode(reader)


def test_threads_share_a_pipeline() -> None:
    embedder = Embedder(Model.demo(), threads=2)
    expected = embedder.encode(TEXTS).tobytes()
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda: results.append(embedder.encode(TEXTS).tobytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_other_threads_run_meanwhile() -> None:
    embedder = Embedder(Model.demo())
    worker = threading.Thread(target=embedder.encode, args=(["word " * 100] * 50,))
    turns = 0
    worker.start()
    while worker.is_alive():
        turns += 1
        time.sleep(0.001)
    worker.join()
    assert turns > 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_forked_workers_share_a_model(threads: int) -> None:
    embedder = Embedder(Model.demo(), threads=threads)
    expected = embedder.encode(TEXTS).tobytes()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=lambda: queue.put(embedder.encode(TEXTS).tobytes())) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [queue.get(timeout=60) for _ in workers] == [expected] * 2
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


def test_pickles() -> None:
    fill = pickle.loads(pickle.dumps(FillMask(Model.demo(), threads=2)))
    assert fill.threads == 2
    assert fill("A <mask>.", top_k=1)[0]["token_str"] == " man"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_a_long_computation() -> None:
    program = """
from rq_runtime import Embedder, Model
embedder = Embedder(Model.demo())
print("ready", flush=True)
embedder.encode(["word " * 100] * 100_000)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode != 0
    assert error.rstrip().endswith(b"KeyboardInterrupt")
