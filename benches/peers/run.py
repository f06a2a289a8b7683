#!/usr/bin/env python3
"""rq and its peers on this machine, in one run: speed, memory, and closeness to fp32. README.md explains it.

    python3 benches/peers/run.py [--stsb stsb-en-test.csv]
"""

import argparse
import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rq-peers"


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--directory", type=Path, default=CACHE, help="for the environment, models and results [%(default)s]")
    parser.add_argument("--shape", choices=["roberta-large", "roberta-base"], default="roberta-large")
    parser.add_argument("--lengths", type=numbers, default=[8, 16, 32, 64, 128, 256, 512], metavar="N,...")
    parser.add_argument("--threads", type=numbers, default=[1, 2], metavar="N,...")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each peer at each length [%(default)s]")
    parser.add_argument("--batch", type=int, default=64, help="texts of the mixed batch, 0 for none [%(default)s]")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="NAME,...", help="rq-q8, ort-q4 and so on")
    parser.add_argument("--skip", type=lambda text: text.split(","), default=[], metavar="PART,...",
                        help="of speed, batch, first, fidelity")
    parser.add_argument("--stsb", type=Path, metavar="CSV", help="the STS benchmark's test split, for fidelity")
    parser.add_argument("--minilm", type=Path, metavar="DIR", help="all-MiniLM-L6-v2 [where .ci/models puts it]",
                        default=CACHE.parent / "rq-models/all-MiniLM-L6-v2")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON lines [DIRECTORY/results.jsonl]; table and charts go beside")
    options = parser.parse_args()
    options.out = options.out or options.directory / "results.jsonl"
    return options


def say(text: str) -> None:
    print(f"peers: {text}", file=sys.stderr, flush=True)


def environment(directory: Path, llamacpp: bool) -> Path:
    """The Python of a virtual environment with what the peers need; made or completed if need be. llama.cpp is built if asked for."""
    home = directory / "venv"
    python = home / "bin/python"
    if not python.is_file():
        say(f"making a virtual environment in {home}")
        venv.create(home, with_pip=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]
    stamp, wanted = home / "installed.txt", (HERE / "requirements.txt").read_text()
    if not stamp.is_file() or stamp.read_text() != wanted:
        say("installing requirements.txt from the index that pip is set to: 6 GB, some minutes")
        subprocess.run([*pip, HERE / "requirements.txt"], check=True)
        stamp.write_text(wanted)
    if llamacpp and not any(home.glob("lib/python*/site-packages/llama_cpp")):
        say("building llama.cpp for this processor: minutes")
        flags = {"CMAKE_ARGS": "-DGGML_NATIVE=ON", "CMAKE_BUILD_PARALLEL_LEVEL": str(os.cpu_count())}
        build = [*pip, HERE / "requirements-llamacpp.txt", "--no-binary", "llama-cpp-python"]
        with open(directory / "llamacpp.log", "w", encoding="utf-8") as log:
            if subprocess.run(build, env={**os.environ, **flags}, stdout=log, stderr=log).returncode:
                say(f"WITHOUT llama.cpp, which didn't build: see {log.name}")
    return python


def main() -> None:
    options = arguments()
    if platform.system() != "Linux":
        sys.exit("run.py: Linux only: it pins processes, and reads /proc")
    options.directory.mkdir(parents=True, exist_ok=True)
    if Path(sys.prefix).resolve() != (options.directory / "venv").resolve():
        llamacpp = not options.only or any(name.startswith("llamacpp") for name in options.only)
        python = environment(options.directory, llamacpp)
        os.execv(python, [str(python), str(HERE / "run.py"), *sys.argv[1:]])
    say("building rq")
    cargo = ["cargo", "build", "--release", "--locked", "-p", "rq-command", "-p", "rq-runtime", "-p", "rq-convert"]
    subprocess.run([*cargo, "--bin", "rq", "--example", "passes", "--example", "random_checkpoint"], check=True, cwd=ROOT)

    import measure
    import report

    measure.run(options, say)
    report.write(options.out)


if __name__ == "__main__":
    main()
