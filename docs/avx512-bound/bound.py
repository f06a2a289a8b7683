#!/usr/bin/env python3
"""What AVX-512 VNNI allows the block-quantized product on this machine.

Writes loops of the product's instructions in assembly, with all operands in the first-level cache, builds them with
rustc, and times them:

    docs/avx512-bound/bound.py

Each loop is one block of 32 columns, as the product had them until 2026-11-30 (docs/arithmetic.md), for a tile of 6 tokens
and 32 rows: 96 `vpdpbusd`. The product's tiles had up to 7 tokens, in the same proportions. What is left out, and what the row is called,
says what the rest costs. The last rows put a chain of dependent multiplications of 3 cycles each beside the whole loop:
where it begins to lengthen the loop, its cycles are the loop's, and so the clock is known. Standard library only.
"""
import subprocess
import tempfile
from pathlib import Path

TOKENS, PANELS, GROUPS = 6, 2, 8
TILE = TOKENS * PANELS
STRIDE = 1280  # bytes from one token's activations to the next's
OPERATIONS = 2 * 64  # of one vpdpbusd


def loop(loads=True, scales=2, chain=0):
    """The instructions of one block. `scales` is 0, 2 (two fused multiply-adds) or 3 (convert, multiply, multiply-add)."""
    w, x, row, start = [2 * TILE, 2 * TILE + 1], 2 * TILE + 2, [27, 28], [29, 30]
    code = []
    for n in range(TOKENS):
        for p in range(PANELS):
            dot = n * PANELS + p
            code.append(f"vpbroadcastd zmm{dot}, [rsi+{n * STRIDE + 36}]" if p == 0
                        else f"vmovdqa64 zmm{dot}, zmm{dot - p}")
    for j in range(GROUPS):
        if loads:
            code += [f"vmovdqa64 zmm{w[p]}, [rdi+{p * 8192 + 64 * j}]" for p in range(PANELS)]
        for n in range(TOKENS):
            if loads:
                code.append(f"vpbroadcastd zmm{x}, [rsi+{n * STRIDE + 4 * j}]")
            code += [f"vpdpbusd zmm{n * PANELS + p}, zmm{w[p]}, zmm{x}" for p in range(PANELS)]
    if scales:
        for p in range(PANELS):
            code += [f"vmovaps zmm{row[p]}, [r8+{64 * p}]", f"vmovaps zmm{start[p]}, [r8+{256 + 64 * p}]"]
        for n in range(TOKENS):
            code.append(f"vpbroadcastd zmm{x}, [rsi+{n * STRIDE + 32}]")
            for p in range(PANELS):
                dot, total = n * PANELS + p, TILE + n * PANELS + p
                if scales == 2:
                    code += [f"vfmadd213ps zmm{dot}, zmm{row[p]}, zmm{start[p]}",
                             f"vfmadd231ps zmm{total}, zmm{dot}, zmm{x}"]
                else:
                    code += [f"vcvtdq2ps zmm{dot}, zmm{dot}", f"vmulps zmm{w[0]}, zmm{row[p]}, zmm{x}",
                             f"vfmadd231ps zmm{total}, zmm{dot}, zmm{w[0]}"]
    spread = max(1, len(code) // max(chain, 1))
    for i in range(chain):
        code.insert(min(len(code), (i + 1) * (spread + 1) - 1), "imul rax, rax")
    return code


LOOPS = [
    ("vpdpbusd alone", loop(loads=False, scales=0)),
    ("with the loads of weights and activations", loop(scales=0)),
    ("with loads, and two multiply-adds for the scales", loop()),
    ("with loads, and convert, multiply, multiply-add", loop(scales=3)),
    *((f"as the last but one, beside a chain of {3 * n} cycles", loop(chain=n)) for n in (20, 22, 24, 26)),
]

PROGRAM = """
use std::arch::asm;
use std::time::Instant;
#[repr(align(64))]
struct Memory([u8; 32768]);
fn main() {
    let (mut w, mut x, mut s) = (Box::new(Memory([0; 32768])), Box::new(Memory([0; 32768])), Box::new(Memory([0; 32768])));
    let mut seed = 7u64;
    for byte in w.0.iter_mut().chain(x.0.iter_mut()) {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        *byte = (seed >> 40) as u8;
    }
    for at in (0..32768).step_by(4) {
        s.0[at..at + 4].copy_from_slice(&0.001f32.to_le_bytes());
    }
    for n in 0..6 {
        x.0[n * 1280 + 32..][..4].copy_from_slice(&0.01f32.to_le_bytes());
        x.0[n * 1280 + 36..][..4].copy_from_slice(&0x4b40_0000u32.to_le_bytes());
    }
    const ROUNDS: u64 = 20_000;
    LOOPS
}
"""
ONE = """{
        let mut best = f64::MAX;
        for _ in 0..60 {
            let start = Instant::now();
            unsafe {
                asm!("2:", CODE "dec {n}", "jnz 2b", n = inout(reg) ROUNDS => _, in("rdi") w.0.as_ptr(),
                    in("rsi") x.0.as_ptr(), in("r8") s.0.as_ptr(), out("rax") _, CLOBBERS);
            }
            best = best.min(start.elapsed().as_secs_f64() / ROUNDS as f64);
        }
        println!("| NAME | {:.1} | {:.0} |", best * 1e9, DOTS.0 / best / 1e9);
    }"""


def main():
    loops = []
    clobbers = ", ".join(f'out("zmm{i}") _' for i in range(32))
    for name, code in LOOPS:
        text = " ".join(f'"{line}",' for line in code)
        dots = sum("vpdpbusd" in line for line in code) * OPERATIONS
        loops.append(ONE.replace("CODE", text).replace("CLOBBERS", clobbers).replace("NAME", name)
                     .replace("DOTS", str(dots)))
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "bound.rs"
        source.write_text(PROGRAM.replace("LOOPS", "\n    ".join(loops)))
        subprocess.run(["rustc", "-O", "-Ctarget-feature=+avx512f,+avx512vnni", "-o", source.with_suffix(""), source],
                       check=True)
        print("| loop | ns | billion operations a second |\n|---|---|---|", flush=True)
        subprocess.run([source.with_suffix("")], check=True)


if __name__ == "__main__":
    main()
