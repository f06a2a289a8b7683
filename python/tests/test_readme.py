"""The examples of the READMEs print what stands below them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from .conftest import REPOSITORY

READMES = [REPOSITORY / "README.md", REPOSITORY / "python/README.md"]
EXAMPLE = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)
EXAMPLES = [example for readme in READMES for example in EXAMPLE.findall(readme.read_text(encoding="utf-8"))]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_an_example_prints_what_stands_below_it(code: str, output: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True, encoding="utf-8")
    assert done.stdout == output
