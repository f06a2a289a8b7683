#!/usr/bin/env python3
"""Estimate the speed of the Arm kernels without an Arm machine.

Builds rq-kernels for aarch64 as assembly, finds in `matmul` of each tier the loops that decode a run of blocks
and that multiply it with a tile of tokens, has llvm-mca simulate exactly those instructions, and prints README.md's
tables: what the loops take, and what RoBERTa-large would take. Nothing in the kernels is marked for this; a loop is
known by its instructions.

    docs/arm/mca.py [--asm FILE] [--mca PROGRAM]

It needs llvm-mca 19 or later and a Rust compiler with the standard library for aarch64-unknown-linux-gnu: rustup's
(`rustup target add aarch64-unknown-linux-gnu`), or Debian's, which `.ci/arm` installs, by
`CARGO=/usr/bin/cargo RUSTC=/usr/bin/rustc`. `--asm` takes assembly that was made before. Standard library only.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = "aarch64-unknown-linux-gnu"
# Rows of a panel, columns of a block.
ROWS, COLUMNS = 16, 32
ITERATIONS = 100


@dataclass(frozen=True)
class Tier:
    name: str
    # The type in kernels/src/kernels.rs whose method holds the loops.
    symbol: str
    cpu: str
    # Multiply-adds of each multiplying instruction.
    multiplies: dict
    # Multiply-adds a cycle that the multiplying pipes allow.
    peak: int


LONG = {"smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8}
TIERS = [
    Tier("neon", "Neon", "cortex-a72", LONG, 8),
    Tier("dotprod", "Dotprod", "neoverse-n1", {"sdot": 16}, 32),
    Tier("i8mm", "I8mm", "neoverse-n2", {"smmla": 32}, 64),
]


@dataclass(frozen=True)
class Board:
    name: str
    tier: str
    hertz: float
    # Bytes a second that a copy moves.
    bandwidth: float
    # f32 multiply-adds a cycle and core that the vector pipes allow.
    float_peak: int


BOARDS = [
    Board("Raspberry Pi 4", "neon", 1.5e9, 2.8e9, 4),
    Board("Raspberry Pi 5", "dotprod", 2.4e9, 6.0e9, 8),
]
# RoBERTa-large.
LAYERS, HIDDEN, INTERMEDIATE = 24, 1024, 4096
WEIGHTS = LAYERS * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INTERMEDIATE)
BITS = {"q8": 8.5, "q4": 4.5}


def fail(message):
    sys.exit(f"mca.py: {message}")


# ---------------------------------------------------------------- assembly

def depth():
    """Blocks that are decoded at a time, as the source has it."""
    source = ROOT / "kernels/src/tier.rs"
    found = re.search(r"^const DEPTH: usize = (\d+);", source.read_text(), re.M)
    if not found:
        fail(f"{source} has no DEPTH")
    return int(found[1])


def build(directory):
    """The path of rq-kernels' assembly, made by the release profile."""
    cargo = os.environ.get("CARGO", "cargo")
    path = Path(directory) / "rq_kernels.s"
    command = [cargo, "rustc", "--quiet", "--locked", "--release", "-p", "rq-kernels", "--lib", "--target", TARGET,
               "--", f"--emit=asm={path}", "-C", "codegen-units=1"]
    environment = {k: v for k, v in os.environ.items() if k not in ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS")}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment)
    except FileNotFoundError:
        fail(f"there is no {cargo}; set CARGO")
    if done.returncode != 0 or not path.is_file():
        fail("the kernels weren't built; is there a standard library for " + TARGET + "?")
    return path


def functions(text):
    """Lines of every function, by symbol."""
    found, symbol, lines = {}, None, []
    for line in text.split("\n"):
        label = re.match(r"([^.\s][^\s:]*):", line)
        if label:
            symbol, lines = label[1], []
        elif line.startswith(".Lfunc_end") and symbol:
            found[symbol] = lines
        else:
            lines.append(line)
    return found


@dataclass
class Block:
    code: list
    successors: set


def blocks_of(lines):
    """The basic blocks of a function, in order."""
    blocks, labels, pending = [], {}, ["entry"]

    def start():
        blocks.append(Block([], set()))
        for label in pending:
            labels[label] = len(blocks) - 1
        pending.clear()

    start()
    ended = False
    for line in lines:
        label = re.match(r"(\.L\w+):", line)
        code = line.split("//")[0].strip()
        if label:
            pending.append(label[1])
        elif code and not code.startswith("."):
            if pending or ended:
                start()
            blocks[-1].code.append(code)
            ended = bool(re.match(r"(b|br|b\.\w+|cbn?z|tbn?z|ret|brk|udf)\b", code) or is_panic(code))
    for i, block in enumerate(blocks):
        last = block.code[-1] if block.code else ""
        target = re.match(r"(?:b|b\.\w+|cbn?z|tbn?z)\s(?:.*\s)?(\.L\w+)$", last)
        if target and target[1] in labels:
            block.successors.add(labels[target[1]])
        if not re.match(r"(b|br|ret|brk|udf)\s|ret$", last) and not is_panic(last) and i + 1 < len(blocks):
            block.successors.add(i + 1)
    return blocks


def is_panic(code):
    """A call that doesn't return."""
    return re.match(r"bl\s.*(panic|_fail|unwrap_failed|expect_failed)", code) is not None


def natural_loops(blocks):
    """Sets of blocks by the block at their head."""
    predecessors = [{i for i, block in enumerate(blocks) if j in block.successors} for j in range(len(blocks))]
    everything = set(range(len(blocks)))
    dominators = [{0}] + [everything] * (len(blocks) - 1)
    changed = True
    while changed:
        changed = False
        for i in range(1, len(blocks)):
            sets = [dominators[p] for p in predecessors[i]]
            new = {i} | (set.intersection(*sets) if sets else set())
            changed |= new != dominators[i]
            dominators[i] = new
    loops = {}
    for i, block in enumerate(blocks):
        for head in block.successors & dominators[i]:
            body, todo = loops.setdefault(head, {head}), [i]
            while todo:
                j = todo.pop()
                if j not in body:
                    body.add(j)
                    todo += predecessors[j]
    return loops


def body(blocks, loop, head):
    """The instructions of a loop, from its head on."""
    order = sorted(loop, key=lambda i: (i < head, i))
    return [code for i in order for code in blocks[i].code]


def through(blocks, loop, head, inner):
    """Those blocks of a loop that one of its rounds goes through when it goes through an inner loop."""
    before, after = {inner}, {inner}
    for _ in loop:
        before |= {i for i in loop if blocks[i].successors & (before - {head})}
        after |= {j for i in after for j in blocks[i].successors & loop if j != head}
    return before | after


def count(code, pattern):
    return sum(re.match(rf"({pattern})\b", line) is not None for line in code)


@dataclass
class Kernel:
    tier: Tier
    format: str
    tokens: int
    # One block with the tile's tokens.
    inner: list
    # A run of blocks, with the loads and stores of the sums.
    tile: list
    # One block made ready.
    decode: list


def kernels_of(tier, text):
    """The loops of a tier: one kernel a format."""
    multiply = "|".join(tier.multiplies)
    candidates = [lines for symbol, lines in functions(text).items()
                  if tier.symbol in symbol and "matmul" in symbol
                  and any(re.match(rf"\s+({multiply})\s", line) for line in lines)]
    if len(candidates) != 1:
        fail(f"{tier.name}: {len(candidates)} functions matmul with {multiply}, not one")
    blocks = blocks_of(candidates[0])
    loops = natural_loops(blocks)
    code = {head: body(blocks, loop, head) for head, loop in loops.items()}
    innermost = [h for h in loops if not any(o != h and loops[o] < loops[h] for o in loops)]

    def macs(head):
        return sum(count(code[head], name) * size for name, size in tier.multiplies.items())

    def around(head):
        """The loops that hold this one, the smallest first."""
        return sorted((o for o in loops if loops[head] < loops[o]), key=lambda o: len(loops[o]))

    decodes = {h: "q4" if count(code[h], "tbl") else "q8" for h in innermost
               if macs(h) == 0 and (count(code[h], "tbl") == ROWS * COLUMNS // 16
                                    or count(code[h], "eor") == ROWS * COLUMNS // 16)}
    kernels = []
    for format in ("q8", "q4"):
        best = None
        for head in innermost:
            if macs(head) == 0:
                continue
            outer = around(head)
            decode = next((d for o in outer for d in decodes if loops[d] < loops[o]), None)
            if decode is None or decodes[decode] != format:
                continue
            if best is None or macs(head) > macs(best[0]):
                best = (head, outer[0], decode)
        if best is None:
            fail(f"{tier.name} {format}: no loop that multiplies, beside one that decodes; "
                 f"of {len(loops)} loops {len(innermost)} are innermost and {len(decodes)} decode")
        head, tile, decode = best
        tokens, odd = divmod(macs(head), ROWS * COLUMNS)
        if odd or tokens == 0:
            fail(f"{tier.name} {format}: the loop has {macs(head)} multiply-adds, "
                 f"not a multiple of {ROWS} rows x {COLUMNS} columns: it isn't unrolled as expected")
        # Tiles of other numbers of tokens have loops of their own: only what lies on the way through this one.
        others = set().union(*(loops[h] for h in innermost if h != head and h in loops[tile] and macs(h) > 0))
        whole = []
        for i in sorted(through(blocks, loops[tile] - others, tile, head), key=lambda i: (i < tile, i)):
            if i == head:
                whole += code[head] * depth()
            elif i not in loops[head]:
                whole += blocks[i].code
        kernels.append(Kernel(tier, format, tokens, code[head], whole, code[decode]))
    return kernels


# ---------------------------------------------------------------- simulation

def simulate(mca, cpu, code):
    """Cycles an iteration, in a steady state."""
    # Every branch goes to a label that is there; the simulation falls through all of them.
    text = "\n".join(re.sub(r"\.L\w+$", "0b", line) if re.match(r"(b|cb|tb)", line) else line for line in code)
    command = [mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", f"-iterations={ITERATIONS}"]
    done = subprocess.run(command, input="0:\n" + text + "\n", capture_output=True, text=True)
    cycles = re.search(r"^Total Cycles:\s+(\d+)", done.stdout, re.M)
    if done.returncode != 0 or not cycles:
        fail(f"{mca} for {cpu} said:\n{done.stderr.strip()}")
    return int(cycles[1]) / ITERATIONS


def llvm_mca(given):
    """The program, and its version."""
    names = [given] if given else ["llvm-mca", *(f"llvm-mca-{v}" for v in range(30, 18, -1))]
    for name in names:
        if shutil.which(name):
            version = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
            number = re.search(r"LLVM version (\d+)\S*", version)
            if number and int(number[1]) >= 19:
                return name, number[0]
    fail("there is no llvm-mca 19 or later; on Debian it is in the package llvm-19")


@dataclass
class Result:
    kernel: Kernel
    inner: float
    # Cycles for a block and the tile's tokens, with a share of loading and storing the sums.
    tile: float
    decode: float

    @property
    def rate(self):
        return ROWS * COLUMNS * self.kernel.tokens / self.tile


def measure(mca, kernel):
    cpu = kernel.tier.cpu
    return Result(kernel, simulate(mca, cpu, kernel.inner), simulate(mca, cpu, kernel.tile) / depth(),
                  simulate(mca, cpu, kernel.decode))


# ---------------------------------------------------------------- tables

def loops_table(results):
    print("| tier, format | simulated core | tokens x rows | instructions | loads | stores | on the stack | cycles "
          "| cycles, with sums | multiply-adds a cycle | pipes allow | share |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for r in results:
        k, code = r.kernel, r.kernel.inner
        loads, stores = count(code, "ld[a-z0-9]*"), count(code, "st[a-z0-9]*")
        stack = sum(re.match(r"(ld|st).*\[sp", line) is not None for line in code)
        print(f"| {k.tier.name}, {k.format} | {k.tier.cpu} | {k.tokens} x {ROWS} | {len(code)} | {loads} | {stores} "
              f"| {stack} | {r.inner:.1f} | {r.tile:.1f} | {r.rate:.1f} | {k.tier.peak} | {r.rate / k.tier.peak:.0%} |")


def decode_table(results):
    tokens = (2, 8, 32, 128)
    print("| tier, format | instructions | cycles a block | " + " | ".join(f"{n} tokens" for n in tokens) + " |")
    print("|---|---|---|" + "---|" * len(tokens))
    for r in results:
        shares = (r.decode / (r.decode + n * r.tile / r.kernel.tokens) for n in tokens)
        print(f"| {r.kernel.tier.name}, {r.kernel.format} | {len(r.kernel.decode)} | {r.decode:.1f} | "
              + " | ".join(f"{share:.0%}" for share in shares) + " |")


def prediction_table(results):
    print("| board, cores | format | memory | " + " | ".join(f"{n} tokens" for n in (8, 16, 32, 128)) + " |")
    print("|---|---|---|---|---|---|---|")
    for board in BOARDS:
        for cores in (1, 4):
            for r in results:
                if r.kernel.tier.name != board.tier:
                    continue
                memory = WEIGHTS * BITS[r.kernel.format] / 8 / board.bandwidth
                row = []
                for n in (8, 16, 32, 128):
                    blocks = WEIGHTS / (ROWS * COLUMNS)
                    linear = blocks * (r.decode + n * r.tile / r.kernel.tokens) / board.hertz / cores
                    attention = 2 * LAYERS * n * n * HIDDEN / (board.float_peak / 2) / board.hertz / cores
                    bound = "m" if memory > linear else "c"
                    row.append(f"{1e3 * (max(memory, linear) + attention):.0f} {bound}")
                print(f"| {board.name}, {cores} | {r.kernel.format} | {1e3 * memory:.0f} | " + " | ".join(row) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--asm", type=Path, help="rq-kernels' assembly; without it, it is built")
    parser.add_argument("--mca", help="the program llvm-mca")
    arguments = parser.parse_args()
    mca, version = llvm_mca(arguments.mca)
    with tempfile.TemporaryDirectory() as directory:
        path = arguments.asm or build(directory)
        text = path.read_text()
    compiler = re.search(r'\.ident\s+"(rustc [^"]*)"', text)
    print(f"{version}; {compiler[1] if compiler else 'compiler unknown'}\n")
    results = [measure(mca, kernel) for tier in TIERS for kernel in kernels_of(tier, text)]
    loops_table(results)
    print()
    decode_table(results)
    print()
    prediction_table(results)


if __name__ == "__main__":
    main()
