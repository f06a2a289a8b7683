"""Conversion."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rq_runtime import ConversionError, Model

from .conftest import TASKS


def test_a_conversion_tells_how_far_it_is_and_makes_the_file_of_the_command(tmp_path: Path) -> None:
    steps: list[tuple[str, float]] = []
    model = Model.convert(TASKS / "topics", tmp_path / "topics.rq", progress=lambda part, done: steps.append((part, done)))
    assert model.task == "text-classification"
    assert model.labels == ["sports", "cooking", "weather", "money"]
    assert steps[-1][1] == pytest.approx(1)
    assert [done for _, done in steps] == sorted(done for _, done in steps)
    rq = Path(sys.executable).parent / "rq"
    subprocess.run([rq, "convert", TASKS / "topics", "-o", tmp_path / "other.rq", "--no-eval"], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "topics.rq").read_bytes() == (tmp_path / "other.rq").read_bytes()


def test_what_is_raised_meanwhile_ends_a_conversion_and_leaves_nothing(tmp_path: Path) -> None:
    def stop(part: str, done: float) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        Model.convert(TASKS / "topics", tmp_path / "topics.rq", quant="q4", progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_a_conversion_and_leaves_nothing(tmp_path: Path) -> None:
    program = f"""
import signal
from rq_runtime import Model
signal.signal(signal.SIGINT, signal.default_int_handler)
Model.convert({str(TASKS / "answers")!r}, "a.rq", quant="q4", progress=lambda *_: print("on", flush=True))
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert error.rstrip().endswith(b"KeyboardInterrupt")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_converted(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="config.json"):
        Model.convert(tmp_path, tmp_path / "x.rq")
    with pytest.raises(ValueError, match="it can be q8, q4, q4m"):
        Model.convert(TASKS / "topics", tmp_path / "x.rq", quant="q5")  # type: ignore[arg-type]
