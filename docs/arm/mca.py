#!/usr/bin/env python3
"""Estimate the speed of the Arm kernels without an Arm machine.

Builds rq-kernels for aarch64 as assembly, finds in each tier's product of a packed matrix the loops that decode blocks
and that multiply a block with a tile of tokens, has llvm-mca simulate exactly those instructions, and prints
README.md's tables: what the loops take, and what RoBERTa-large would take. Nothing in the kernels is marked for this; a
loop is known by its instructions.

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
ROWS, COLUMNS = 16, 128
# Columns that the loop over a block goes through at a time: STEP groups in kernels/src/tier/arm.rs.
STEP = 16
ITERATIONS = 100


@dataclass(frozen=True)
class Tier:
    name: str
    # The token in kernels/src/tier/token.rs whose `vectorize` holds the loops.
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
BITS = {"q8": 8.125, "q4": 4.375}


def fail(message):
    sys.exit(f"mca.py: {message}")


# ---------------------------------------------------------------- assembly

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


def rounds(blocks, loops, head, inner=None, times=1):
    """The instructions of one round of a loop, from its head on, with `times` rounds of the one within it."""
    code = []
    for i in sorted(loops[head], key=lambda i: (i < head, i)):
        if i == inner:
            code += rounds(blocks, loops, inner) * times
        elif inner is None or i not in loops[inner]:
            code += blocks[i].code
    return code


def count(code, pattern):
    return sum(re.match(rf"({pattern})\b", line) is not None for line in code)


@dataclass
class Product:
    """A block with a tile's tokens."""
    tokens: int
    # The loop over the columns of a block, STEP at a time.
    step: list
    # A whole block: the loop, and adding to the sums.
    block: list


@dataclass
class Kernel:
    tier: Tier
    products: list
    # One block made ready, by format.
    decodes: dict

def kernel_of(tier, text):
    """The loops of a tier."""
    multiply = "|".join(tier.multiplies)
    # The product of a packed matrix is the one that decodes q4.
    candidates = [lines for symbol, lines in functions(text).items()
                  if tier.symbol in symbol and "vectorize" in symbol
                  and all(any(re.match(rf"\s+({names})\s", line) for line in lines) for names in (multiply, "tbl"))]
    if len(candidates) != 1:
        fail(f"{tier.name}: {len(candidates)} functions with {multiply} and tbl, not one")
    blocks = blocks_of(candidates[0])
    loops = natural_loops(blocks)
    around = {h: min((o for o in loops if loops[h] < loops[o]), key=lambda o: len(loops[o]), default=None)
              for h in loops}
    innermost = {h: rounds(blocks, loops, h) for h in loops if h not in around.values()}

    products, decodes = {}, {}
    for head, code in innermost.items():
        macs = sum(count(code, name) * size for name, size in tier.multiplies.items())
        outer = around[head]
        if macs > 0:
            tokens, odd = divmod(macs, ROWS * STEP)
            if odd or tokens == 0 or outer is None:
                fail(f"{tier.name}: a loop has {macs} multiply-adds, not a multiple of {ROWS} rows x {STEP} columns")
            found = Product(tokens, code, rounds(blocks, loops, outer, head, COLUMNS // STEP))
            # Both formats have such loops, and i8mm also for one token less, which are a little shorter.
            if tokens not in products or len(found.block) > len(products[tokens].block):
                products[tokens] = found
        else:
            # Levels are a register for 16 weights: q4 has a multiplication for each, q8 an exclusive or.
            for format, name in (("q4", "mul"), ("q8", "eor")):
                registers = count(code, rf"{name}\s+v\d+\.16b")
                if registers < 8:
                    continue
                times = ROWS * COLUMNS // 16 // registers
                alone = outer is not None and not any(h != head and around[h] == outer for h in innermost)
                decodes[format] = rounds(blocks, loops, outer, head, times) if alone else code * times
    if not products or len(decodes) != 2:
        fail(f"{tier.name}: {len(products)} loops that multiply, {len(decodes)} that decode")
    return Kernel(tier, list(products.values()), decodes)


# ---------------------------------------------------------------- simulation

def simulate(mca, cpu, code):
    """Cycles an iteration, in a steady state."""
    if cpu == "neoverse-n1":
        # LLVM's table forgets products of bytes, and takes them for additions; those of 16 bits have the same pipe.
        code = [re.sub(r"\.16b\b", ".8h", line) if re.match(r"mul\s", line) else line for line in code]
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
    # Cycles of a step and of a block, by the number of tokens.
    step: dict
    block: dict
    # By format.
    decode: dict

    def rate(self, tokens):
        return ROWS * COLUMNS * tokens / self.block[tokens]

    def cycles(self, format, tokens):
        """A block made ready, and multiplied with all tokens in tiles of as equal a number as can be."""
        most = max(self.block)
        tiles = -(-tokens // most)
        fewest, larger = divmod(tokens, tiles)
        # An odd token is its own partner where there are only pairs.
        tile = {n: self.block.get(n) or self.block.get(n + 1, 0) for n in range(1, most + 1)}
        return self.decode[format] + larger * tile.get(fewest + 1, 0) + (tiles - larger) * tile[fewest]


def measure(mca, kernel):
    def cycles(code):
        return simulate(mca, kernel.tier.cpu, code)
    return Result(kernel, {p.tokens: cycles(p.step) for p in kernel.products},
                  {p.tokens: cycles(p.block) for p in kernel.products},
                  {format: cycles(code) for format, code in kernel.decodes.items()})


# ---------------------------------------------------------------- tables

def loops_table(results):
    print("| tier | simulated core | tokens x rows | instructions | loads | stores | on the stack | cycles "
          "| cycles, with sums | multiply-adds a cycle | pipes allow | share |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for r in results:
        tier = r.kernel.tier
        for p in sorted(r.kernel.products, key=lambda p: p.tokens):
            loads, stores = count(p.block, "ld[a-z0-9]*"), count(p.block, "st[a-z0-9]*")
            stack = sum(re.match(r"(ld|st).*\[sp", line) is not None for line in p.block)
            rate = r.rate(p.tokens)
            print(f"| {tier.name} | {tier.cpu} | {p.tokens} x {ROWS} | {len(p.block)} | {loads} | {stores} | {stack} "
                  f"| {COLUMNS // STEP * r.step[p.tokens]:.0f} | {r.block[p.tokens]:.0f} | {rate:.1f} | {tier.peak} "
                  f"| {rate / tier.peak:.0%} |")


def decode_table(results):
    tokens = (2, 8, 32, 128)
    print("| tier, format | instructions | cycles a block | " + " | ".join(f"{n} tokens" for n in tokens) + " |")
    print("|---|---|---|" + "---|" * len(tokens))
    for r in results:
        for format in BITS:
            shares = (r.decode[format] / r.cycles(format, n) for n in tokens)
            print(f"| {r.kernel.tier.name}, {format} | {len(r.kernel.decodes[format])} | {r.decode[format]:.0f} | "
                  + " | ".join(f"{share:.0%}" for share in shares) + " |")


def prediction_table(results):
    tokens = (8, 16, 32, 128)
    print("| board, cores | format | memory | " + " | ".join(f"{n} tokens" for n in tokens) + " |")
    print("|---|---|---|" + "---|" * len(tokens))
    for board in BOARDS:
        r = next(r for r in results if r.kernel.tier.name == board.tier)
        for cores in (1, 4):
            for format, bits in BITS.items():
                memory = WEIGHTS * bits / 8 / board.bandwidth
                row = []
                for n in tokens:
                    linear = WEIGHTS / (ROWS * COLUMNS) * r.cycles(format, n) / board.hertz / cores
                    attention = 2 * LAYERS * n * n * HIDDEN / (board.float_peak / 2) / board.hertz / cores
                    bound = "m" if memory > linear else "c"
                    row.append(f"{1e3 * (max(memory, linear) + attention):.0f} {bound}")
                print(f"| {board.name}, {cores} | {format} | {1e3 * memory:.0f} | " + " | ".join(row) + " |")


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
    results = [measure(mca, kernel) for tier in TIERS for kernel in [kernel_of(tier, text)]]
    loops_table(results)
    print()
    decode_table(results)
    print()
    prediction_table(results)


if __name__ == "__main__":
    main()
