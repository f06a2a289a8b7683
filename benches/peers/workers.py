"""The parent's side of the workers: starts, pins and asks them."""

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import hf
import llamacpp
import ort
import ov
import rq
from models import Checkpoint

PEERS = {"rq": rq, "ort": ort, "ov": ov, "llamacpp": llamacpp, "hf": hf}


class WorkerError(Exception):
    """A peer can't be built or doesn't answer."""


@dataclass(frozen=True)
class Contender:
    """A peer with a format; `held` to the instruction sets that rq uses, where the processor has AMX."""

    peer: str
    fmt: str
    held: bool = False

    @property
    def key(self) -> str:
        return f"{self.peer}-{self.fmt}"

    @property
    def label(self) -> str:
        module = PEERS[self.peer]
        return f"{module.NAME} {module.FORMATS[self.fmt]}" + (", without AMX" if self.held else "")

    def build(self, checkpoint: Checkpoint, models: Path, log: IO[str]) -> float:
        """Builds its model unless it is there; returns the seconds that took."""
        path = models / self.key
        if path.is_dir():
            return 0.0
        worker, calibration = Path(__file__).with_name("worker.py"), checkpoint.calibration or ""
        command = [sys.executable, worker, "build", self.peer, self.fmt, checkpoint.directory, calibration, path]
        start = time.monotonic()
        if subprocess.run(command, stdout=log, stderr=log).returncode:
            raise WorkerError(f"{self.label}: its model couldn't be built; see {log.name}")
        return time.monotonic() - start


def refuse_amx() -> None:
    """Makes the kernel refuse this process AMX's registers (arch_prctl, ARCH_REQ_XCOMP_PERM), by a seccomp filter.

    Libraries that find them refused fall back to AVX-512, whatever switches they have or lack.
    """

    class Instruction(ctypes.Structure):
        _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint)]

    class Program(ctypes.Structure):
        _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction))]

    load, equal, give = 0x20, 0x15, 0x06
    steps = [
        (load, 0, 0, 4), (equal, 0, 5, 0xC000003E),  # the architecture: x86-64
        (load, 0, 0, 0), (equal, 0, 3, 158),  # the call: arch_prctl
        (load, 0, 0, 16), (equal, 0, 1, 0x1023),  # its first argument: ARCH_REQ_XCOMP_PERM
        (give, 0, 0, 0x00050001),  # EPERM
        (give, 0, 0, 0x7FFF0000),  # allowed
    ]
    filters = (Instruction * len(steps))(*(Instruction(*step) for step in steps))
    program = Program(len(steps), filters)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    # PR_SET_NO_NEW_PRIVS; PR_SET_SECCOMP with SECCOMP_MODE_FILTER.
    if prctl(38, 1, 0, 0, 0) or prctl(22, 2, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "no seccomp filter")


class Worker:
    """A running contender."""

    def __init__(self, contender: Contender, models: Path, cpus: list[int], amx: bool, log: IO[str]) -> None:
        self.contender = contender
        path, threads = models / contender.key, len(cpus)
        module = PEERS[contender.peer]
        if hasattr(module, "command"):
            command = module.command(path, contender.fmt, threads)
        else:
            worker = str(Path(__file__).with_name("worker.py"))
            command = [sys.executable, worker, "run", contender.peer, contender.fmt, str(path), str(threads)]

        def prepare() -> None:
            os.sched_setaffinity(0, cpus)
            if contender.held:
                refuse_amx()

        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        if contender.held:
            environment["ONEDNN_MAX_CPU_ISA"] = "AVX512_CORE_VNNI"
        elif amx:
            environment["RQ_PEERS_FREE"] = "1"
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1, env=environment,
            preexec_fn=prepare,
        )

    def ready(self) -> dict[str, Any]:
        """Waits until it is; once, before the first request. Returns what it says of itself."""
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise WorkerError(f"{self.contender.label}: ended with status {self.process.wait()}")
        return json.loads(line)

    def passes(self, ids: list[list[int]], passes: int = 1, out: Path | None = None) -> list[float]:
        """The milliseconds of passes of a batch."""
        assert self.process.stdin
        request = {"ids": ids, "passes": passes, "out": str(out) if out else None}
        with suppress(BrokenPipeError):  # Reading the answer says so.
            self.process.stdin.write(json.dumps(request) + "\n")
        return self._answer()["ms"]

    def status(self, field: str) -> int:
        """A field of /proc/PID/status, in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        # A process that is ending has no memory.
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith(field + ":")), 0)

    def close(self) -> None:
        assert self.process.stdin
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def first_answer(worker: Worker, ids: list[int]) -> tuple[float, int, int]:
    """Of a new process: ms from its start to its first answer, the most bytes that no file backs, the most resident."""
    samples, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            samples.append(worker.status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        worker.ready()
        worker.passes([ids])
        ms = 1e3 * (time.monotonic() - worker.start)
    finally:
        done.set()
        watcher.join()
    samples.append(worker.status("RssAnon"))
    return ms, max(samples), worker.status("VmHWM")
