"""rq: q8 and q4 as `rq convert` makes them, run by `examples/passes.rs`.

q8 is made from the weights alone; trained weights are calibrated to q4 on the built-in prose, which is the default.
"""

import subprocess
from pathlib import Path

from models import Checkpoint

NAME = "rq"
FORMATS = {"q8": "q8", "q4": "q4"}
RELEASE = Path(__file__).parents[2] / "target/release"


def build(checkpoint: Checkpoint, fmt: str, path: Path) -> None:
    options = [] if checkpoint.calibration else ["--no-calibrate", "--no-eval"]
    command = [RELEASE / "rq", "convert", checkpoint.directory, "--quant", fmt, "-o", path / "model.rq", *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def command(path: Path, fmt: str, threads: int) -> list[str]:
    """A worker of its own, in place of `load`."""
    return [str(RELEASE / "examples/passes"), str(path / "model.rq"), str(threads)]
