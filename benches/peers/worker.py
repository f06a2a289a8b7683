"""A peer in a process of its own.

    worker.py build PEER FORMAT CHECKPOINT CALIBRATION PATH     builds the peer's model; CALIBRATION may be empty
    worker.py run PEER FORMAT PATH THREADS                      times passes on request

`run` speaks the protocol of `examples/passes.rs`: a line of JSON in, a line of JSON out. Sequences of a batch are padded to the
longest; `out` gets the states of the real tokens.
"""

import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from models import Checkpoint, made


def run(peer: str, fmt: str, path: str, threads: str) -> None:
    # What libraries print goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    module = importlib.import_module(peer)
    encode = module.load(Path(path), fmt, int(threads))
    print(json.dumps({"version": module.version()}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        lengths = [len(ids) for ids in request["ids"]]
        ids = np.ones((len(lengths), max(lengths)), dtype=np.int64)
        mask = np.zeros_like(ids)
        for i, sequence in enumerate(request["ids"]):
            ids[i, : lengths[i]], mask[i, : lengths[i]] = sequence, 1
        ms = []
        for _ in range(request["passes"]):
            start = time.perf_counter()
            states = encode(ids, mask)
            ms.append(1e3 * (time.perf_counter() - start))
        if request["out"]:
            states[mask == 1].astype("<f4").tofile(request["out"])
        print(json.dumps({"ms": ms}), file=answers)


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(*sys.argv[2:])
    else:
        peer, fmt, checkpoint, calibration, path = sys.argv[2:]
        source = Checkpoint(Path(checkpoint), Path(calibration) if calibration else None)
        module = importlib.import_module(peer)
        made(Path(path), lambda part: module.build(source, fmt, part))
