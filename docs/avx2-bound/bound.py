#!/usr/bin/env python3
"""What AVX2 without VNNI can multiply at most: inner loops of 128 columns, on data of the first-level cache.

    python3 docs/avx2-bound/bound.py        # needs a C compiler, and a processor with AVX2

Prints instructions a cycle of single instructions, and 8-bit multiply-adds a cycle of each way to make a product: the best of 40
samples, the clock being that of a chain of additions beside them.
"""

import subprocess
import tempfile
from pathlib import Path

TOKEN = 256  # bytes from one token's activations to the next one's


def single(text: str) -> str:
    return "".join(text.format(i=i) for i in range(12))


def widened(tokens: int = 6) -> tuple[str, int, int, int]:
    """rq's q8: weights and activations of 16 bits, two registers of rows."""
    body = ""
    for pair in range(8):
        body += f"vmovdqa {64 * pair}(%%rsi),%%ymm12\nvmovdqa {64 * pair + 32}(%%rsi),%%ymm13\n"
        for t in range(tokens):
            body += (
                f"vpbroadcastd {4 * pair + TOKEN * t}(%%rdi,%%rcx),%%ymm14\n"
                "vpmaddwd %%ymm14,%%ymm12,%%ymm15\nvpmaddwd %%ymm14,%%ymm13,%%ymm14\n"
                f"vpaddd %%ymm15,%%ymm{2 * t},%%ymm{2 * t}\nvpaddd %%ymm14,%%ymm{2 * t + 1},%%ymm{2 * t + 1}\n"
            )
    return body, tokens * 16 * 16, 512, 32


def operands(tokens: int = 3) -> tuple[str, int, int, int]:
    """The same, with four registers of rows as operands in memory."""
    body = ""
    for pair in range(8):
        for t in range(tokens):
            body += f"vpbroadcastd {4 * pair + TOKEN * t}(%%rdi,%%rcx),%%ymm{12 + t}\n"
        for row in range(4):
            for t in range(tokens):
                sums = 3 * row + t
                body += f"vpmaddwd {32 * (4 * pair + row)}(%%rsi),%%ymm{12 + t},%%ymm15\nvpaddd %%ymm15,%%ymm{sums},%%ymm{sums}\n"
    return body, tokens * 32 * 16, 1024, 32


def signs(tokens: int = 5) -> tuple[str, int, int, int]:
    """Sizes of weights as bytes without a sign, which goes to the activations."""
    body = ""
    for group in range(4):
        body += f"vmovdqa {128 * group + 64}(%%rsi),%%ymm10\nvmovdqa {128 * group + 96}(%%rsi),%%ymm11\n"
        for t in range(tokens):
            body += (
                f"vpbroadcastd {4 * group + TOKEN * t}(%%rdi,%%rcx),%%ymm14\n"
                f"vpsignb {128 * group}(%%rsi),%%ymm14,%%ymm13\nvpsignb {128 * group + 32}(%%rsi),%%ymm14,%%ymm14\n"
                "vpmaddubsw %%ymm13,%%ymm10,%%ymm13\nvpmaddubsw %%ymm14,%%ymm11,%%ymm14\n"
                "vpmaddwd %%ymm15,%%ymm13,%%ymm13\nvpmaddwd %%ymm15,%%ymm14,%%ymm14\n"
                f"vpaddd %%ymm13,%%ymm{2 * t},%%ymm{2 * t}\nvpaddd %%ymm14,%%ymm{2 * t + 1},%%ymm{2 * t + 1}\n"
            )
    return body, tokens * 16 * 16, 512, 16


def seven_bits(tokens: int = 6) -> tuple[str, int, int, int]:
    """Weights of 7 bits, whose pairs of products fit 16: what ONNX Runtime does with reduce_range."""
    body = ""
    for group in range(4):
        body += f"vmovdqa {64 * group}(%%rsi),%%ymm12\nvmovdqa {64 * group + 32}(%%rsi),%%ymm13\n"
        for t in range(tokens):
            body += (
                f"vpbroadcastd {4 * group + TOKEN * t}(%%rdi,%%rcx),%%ymm14\n"
                "vpmaddubsw %%ymm12,%%ymm14,%%ymm15\nvpmaddubsw %%ymm13,%%ymm14,%%ymm14\n"
                "vpmaddwd ones(%%rip),%%ymm15,%%ymm15\nvpmaddwd ones(%%rip),%%ymm14,%%ymm14\n"
                f"vpaddd %%ymm15,%%ymm{2 * t},%%ymm{2 * t}\nvpaddd %%ymm14,%%ymm{2 * t + 1},%%ymm{2 * t + 1}\n"
            )
    return body, tokens * 16 * 16, 256, 16


def products_of_sums(tokens: int = 5) -> tuple[str, int, int, int]:
    """Two multiply-adds from one product of sums (Winograd 1968)."""
    body = ""
    for group in range(4):
        body += f"vmovdqa {128 * group}(%%rsi),%%ymm10\nvmovdqa {128 * group + 32}(%%rsi),%%ymm11\n"
        for t in range(tokens):
            at = 4 * group + TOKEN * t
            body += (
                f"vpbroadcastd {at}(%%rdi,%%rcx),%%ymm14\nvpbroadcastd {at + 128}(%%rdi,%%rcx),%%ymm15\n"
                "vpaddw %%ymm14,%%ymm10,%%ymm12\nvpaddw %%ymm14,%%ymm11,%%ymm14\n"
                f"vpaddw {128 * group + 64}(%%rsi),%%ymm15,%%ymm13\nvpaddw {128 * group + 96}(%%rsi),%%ymm15,%%ymm15\n"
                "vpmaddwd %%ymm12,%%ymm13,%%ymm13\nvpmaddwd %%ymm14,%%ymm15,%%ymm15\n"
                f"vpaddd %%ymm13,%%ymm{2 * t},%%ymm{2 * t}\nvpaddd %%ymm15,%%ymm{2 * t + 1},%%ymm{2 * t + 1}\n"
            )
    return body, tokens * 16 * 16, 512, 16


def four_bits(tokens: int = 3) -> tuple[str, int, int, int]:
    """rq's q4: four groups are added in 16 bits, and then multiplied by the sub-scales."""
    body = ""
    for t in range(tokens):
        body += f"vpbroadcastd {TOKEN * t}(%%rdi,%%rcx),%%ymm{6 + 2 * t}\nvmovdqa %%ymm{6 + 2 * t},%%ymm{7 + 2 * t}\n"
    for group in range(4):
        body += f"vmovdqa {64 * group}(%%rsi),%%ymm12\nvmovdqa {64 * group + 32}(%%rsi),%%ymm13\n"
        for t in range(tokens):
            low, high = 6 + 2 * t, 7 + 2 * t
            body += (
                f"vpbroadcastd {4 * group + TOKEN * t}(%%rdi,%%rcx),%%ymm14\n"
                "vpmaddubsw %%ymm14,%%ymm12,%%ymm15\nvpmaddubsw %%ymm14,%%ymm13,%%ymm14\n"
                f"vpaddw %%ymm15,%%ymm{low},%%ymm{low}\nvpaddw %%ymm14,%%ymm{high},%%ymm{high}\n"
            )
    body += "vmovdqa 256(%%rsi),%%ymm12\nvmovdqa 288(%%rsi),%%ymm13\n"
    for t in range(tokens):
        low, high = 6 + 2 * t, 7 + 2 * t
        body += (
            f"vpmaddwd %%ymm12,%%ymm{low},%%ymm{low}\nvpmaddwd %%ymm13,%%ymm{high},%%ymm{high}\n"
            f"vpaddd %%ymm{low},%%ymm{2 * t},%%ymm{2 * t}\nvpaddd %%ymm{high},%%ymm{2 * t + 1},%%ymm{2 * t + 1}\n"
        )
    return body, tokens * 16 * 16, 320, 16


INSTRUCTIONS = {
    name: single(name + " %%ymm15,%%ymm14,%%ymm{i}\n")
    for name in ["vpmaddwd", "vpmaddubsw", "vpsignb", "vpaddd"]
}
MIXES = {
    "vpmaddwd, vpaddd": "".join(
        f"vpmaddwd %%ymm15,%%ymm14,%%ymm{i}\nvpaddd %%ymm{i},%%ymm{i + 6},%%ymm{i + 6}\n" for i in range(6)
    )
}
# A name, what is repeated, multiply-adds, and the bytes of weights and of activations that it moves on by.
PRODUCTS = {
    "q8, widened to 16 bits": widened(),
    "q8, operands in memory": operands(),
    "q8, signs to activations": signs(),
    "q8, products of sums": products_of_sums(),
    "7 bits": seven_bits(),
    "q4": four_bits(),
}

C = """
#include <stdio.h>
#include <time.h>
static unsigned char w[65536] __attribute__((aligned(64))), a[65536] __attribute__((aligned(64)));
__attribute__((used, aligned(32))) short ones[16] = {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1};
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + 1e-9 * t.tv_nsec; }
%(functions)s
struct loop { void (*run)(long); const char *name, *unit; double count; } loops[] = { %(table)s };
enum { N = sizeof loops / sizeof *loops, ROUNDS = 3000 };
int main(void) {
  for (unsigned i = 0; i < sizeof w; i++) w[i] = i * 2654435761u >> 13, a[i] = i * 40503u >> 5;
  double best[N];
  for (int sample = 0; sample < 40; sample++)
    for (int i = 0; i < N; i++) {
      double start = now();
      loops[i].run(ROUNDS);
      double took = now() - start;
      if (sample == 0 || took < best[i]) best[i] = took;
    }
  double cycle = best[0] / loops[0].count;
  printf("clock: %%.2f GHz\\n", 1e-9 * ROUNDS / cycle);
  for (int i = 1; i < N; i++) printf("%%-26s %%5.1f %%s a cycle\\n", loops[i].name, loops[i].count * cycle / best[i], loops[i].unit);
}
"""


def function(index: int, body: str, weights: int, activations: int) -> str:
    registers = ", ".join(f'"xmm{i}"' for i in range(16))
    text = body.replace("\n", "\\n")
    step = f"add ${weights},%%rsi\\nadd ${activations},%%rcx\\n" if weights else "add $16,%%rcx\\n"
    end = 16 * 8 if not weights else activations * 8
    return (
        f'static void f{index}(long n) {{ while (n--) __asm__ volatile("mov %0,%%rsi\\nxor %%ecx,%%ecx\\n1:\\n{text}{step}'
        f'cmp ${end},%%rcx\\njb 1b" : : "r"(w), "D"(a) : "rax", "rcx", "rsi", "memory", {registers}); }}'
    )


def main() -> None:
    loops = [("", "additions", "add $1,%%rax\n" * 64, 64, 0, 0)]
    for name, body in {**INSTRUCTIONS, **MIXES}.items():
        loops.append((name, "instructions", body, 12, 0, 0))
    for name, (body, count, weights, activations) in PRODUCTS.items():
        loops.append((name, "multiply-adds", body, count, weights, activations))
    functions = "\n".join(function(i, body, w, a) for i, (_, _, body, _, w, a) in enumerate(loops))
    table = ", ".join(f'{{f{i}, "{name}", "{unit}", {count * 8}.0}}' for i, (name, unit, _, count, _, _) in enumerate(loops))
    with tempfile.TemporaryDirectory() as work:
        source, program = Path(work, "bound.c"), Path(work, "bound")
        source.write_text(C % {"functions": functions, "table": table}, encoding="utf-8")
        subprocess.run(["cc", "-O1", "-o", program, source], check=True)
        subprocess.run([program], check=True)


if __name__ == "__main__":
    main()
