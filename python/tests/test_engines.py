"""The recipes of docs/scale-out.md, each on its engine: the embeddings have the bytes of one process.

An engine that isn't installed is skipped, unless RQ_REQUIRE_ENGINES names it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import pytest

from rq_runtime import Embedder, Model

from .conftest import REPOSITORY

#: A heading of the document, and the module that it needs.
ENGINES = {"DuckDB": "duckdb", "Polars": "polars", "Daft": "daft", "Ray Data": "ray", "Spark": "pyspark"}
REQUIRED = os.environ.get("RQ_REQUIRE_ENGINES", "").split(",")
TEXTS = [f"The {animal} sat on the {place}, {count} times." for animal in ("cat", "dog", "Äffchen", "猫") for place in
         ("mat", "roof", "chair") for count in range(10)]


def recipe(engine: str) -> str:
    text = (REPOSITORY / "docs/scale-out.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {engine}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section is not None
    code = re.search(r"```python\n(.*?)```", section[1], re.DOTALL)
    assert code is not None
    return code[1]


def test_every_recipe_is_run() -> None:
    text = (REPOSITORY / "docs/scale-out.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(ENGINES)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_recipe_gives_the_bytes_of_one_process(engine: str, tmp_path: Path) -> None:
    module = ENGINES[engine]
    if importlib.util.find_spec(module) is None:
        assert module not in REQUIRED, f"{module} isn't installed"
        pytest.skip(f"NOT TESTED HERE: {engine}, for {module} isn't installed")
    table = pa.table({"id": range(len(TEXTS)), "text": TEXTS})
    pa.parquet.write_table(table, tmp_path / "texts.parquet", row_group_size=25)
    script = tmp_path / "recipe.py"
    script.write_text(recipe(engine), encoding="utf-8")
    subprocess.run([sys.executable, script], cwd=tmp_path, check=True, timeout=300)
    output = next(path for path in (tmp_path / "embeddings", tmp_path / "embeddings.parquet") if path.exists())
    found = pa.dataset.dataset(output, format="parquet").to_table().sort_by("id")
    assert found["id"].to_pylist() == list(range(len(TEXTS)))
    rows = np.array(found["embedding"].to_pylist(), dtype=np.float32)
    assert rows.tobytes() == Embedder(Model.demo()).encode(TEXTS).tobytes()
