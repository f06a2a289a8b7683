"""Models that the tests use, converted from the checkpoints of the repository, and what the command says of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest

from rq_runtime import Model

REPOSITORY = Path(__file__).resolve().parents[2]
TASKS = REPOSITORY / "tests/data/tasks"
Rq = Callable[..., list[Any]]


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The model file of a checkpoint in tests/data/tasks."""
    directory = tmp_path_factory.mktemp("models")

    def convert(name: str) -> Path:
        path = directory / f"{name}.rq"
        if not path.exists():
            Model.convert(TASKS / name, path)
        return path

    return convert


@pytest.fixture(scope="session")
def rq() -> Rq:
    """Runs the command that the package brings, and reads its lines of JSON."""

    def run(*arguments: object) -> list[Any]:
        program = Path(sys.executable).parent / "rq"
        done = subprocess.run(
            [program, *map(str, arguments), "--json"], stdout=subprocess.PIPE, check=True, env=dict(os.environ)
        )
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run
