"""The table and the charts of results.

    python report.py RESULTS.jsonl          writes RESULTS.md, RESULTS-time.svg and RESULTS-front.svg beside it

Ratios are against ONNX Runtime's dynamic int8, of the same run.
"""

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

BASE = "ort-q8"
Record = dict[str, Any]
# The tokens at which the chart of the front compares.
FRONT_TOKENS = 128


def read(path: Path) -> dict[str, list[Record]]:
    records: dict[str, list[Record]] = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            records.setdefault(record["type"], []).append(record)
    return records


def table(heading: list[str], rows: Iterable[list[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def figure(value: float) -> str:
    """Three significant digits."""
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f}"


def lengths(records: list[Record], threads: int) -> str:
    here = [record for record in records if record["threads"] == threads]
    tokens = sorted({record["tokens"] for record in here})
    base = {record["tokens"]: record["median_ms"] for record in here if record["peer"] == BASE and not record["held"]}

    def cell(record: Record | None) -> str:
        if not record:
            return ""
        median, (lower, upper) = record["median_ms"], record["quartiles_ms"]
        ratio = f", **{base[record['tokens']] / median:.2f}**" if record["tokens"] in base else ""
        return f"{figure(median)} ±{50 * (upper - lower) / median:.0f} %{ratio}"

    rows = []
    for label in dict.fromkeys(record["label"] for record in here):
        of_label = {record["tokens"]: record for record in here if record["label"] == label}
        rows.append([label, *(cell(of_label.get(count)) for count in tokens)])
    return table([f"{threads} thread{'s' * (threads > 1)}, tokens", *map(str, tokens)], rows)


def markdown(records: dict[str, list[Record]]) -> str:
    machine = records["machine"][0]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    parts = [
        f"{machine['date']}: {machine['processor']}, processors {machine['cpus']}, {machine['system']}; "
        f"load {machine['load']:.1f} when it began. rq {machine['rq']}, {machine['rust']}; {versions}.\n",
    ]
    parts += [f"Without {record['label']}: {record['why']}.\n" for record in records.get("skipped", [])]
    if found := records.get("length"):
        parts.append(f"{machine['shape']}, random weights: the median of passes in milliseconds, half the interquartile range in "
                     "percent, and how many times as fast as ONNX Runtime's dynamic int8 that is.\n")
        parts += [lengths(found, threads) for threads in sorted({record["threads"] for record in found})]
    if found := records.get("batch"):
        parts.append(f"{found[0]['texts']} texts of mixed lengths, {found[0]['tokens']} tokens, threads: {found[0]['threads']}.\n")
        parts.append(table(["", "", "tokens a second"], (
            [record["label"], record["way"], f"{record['tokens_per_s']:.0f}"] for record in found)))
    if found := records.get("first"):
        parts.append("A new process, files cached, from its start to its answer for 12 tokens; its memory.\n")
        parts.append(table(["", "ms", "MB that no file backs, at most", "MB resident, at most"], (
            [record["label"], figure(record["median_ms"]), *(
                f"{record[key] / 1e6:.0f}" for key in ("anonymous_bytes", "resident_bytes"))] for record in found)))
    if found := records.get("fidelity"):
        parts.append(f"all-MiniLM-L6-v2, {found[0]['sentences']} sentences and {found[0]['pairs']} pairs of the STS benchmark's test "
                     "split: 1-cos of token vectors to fp32's, of their means, and Spearman's rank correlation times 100.\n")
        parts.append(table(["", "mean", "median", "worst", "of the means", "Spearman"], (
            [record["label"], *(f"{record[key]:.2e}" if key in record else "" for key in ("mean", "median", "worst", "of_means")),
             f"{record['spearman']:.2f}"] for record in found)))
    return "\n".join(parts)


def charts(records: dict[str, list[Record]], path: Callable[[str], Path]) -> None:
    """Time against length, and error against time: what is down and left is better."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from plot import GREY, by_length, pyplot, save

    colours = {"rq": "#3b82f6", "ort": "#ea7317", "ov": "#10a37f", "llamacpp": "#a855f7"}
    styles = {"q8": ("o", "-"), "w8": ("s", ":"), "q4": ("o", "--"), "w4": ("s", "--")}
    machine = records["machine"][0]

    def style(record: Record) -> tuple[str, str, str]:
        peer, fmt = record["peer"].split("-")
        return colours[peer], *styles[fmt]

    timed = records.get("length", [])
    threads = sorted({record["threads"] for record in timed})
    # Wide enough for three columns of the legend.
    width = 4.6 * max(len(threads), 2) + 0.6
    if timed:
        picture, panels = pyplot.subplots(1, len(threads), figsize=(width, 5.8), squeeze=False)
        for panel, count in zip(panels[0], threads):
            here = [record for record in timed if record["threads"] == count]
            tokens = sorted({record["tokens"] for record in here})
            base = {r["tokens"]: r["median_ms"] for r in here if r["peer"] == BASE and not r["held"]}
            for label in dict.fromkeys(record["label"] for record in here):
                series = [r for r in here if r["label"] == label and r["tokens"] in base]
                if not series:
                    continue
                colour, marker, line = style(series[0])
                panel.plot([r["tokens"] for r in series], [base[r["tokens"]] / r["median_ms"] for r in series], line,
                           marker=marker, color=colour, ms=4.5, lw=2.2 if series[0]["peer"].startswith("rq") else 1.5,
                           mfc="none" if series[0]["held"] else colour, label=label)
            by_length(panel, tokens, count)
        panels[0][0].set_ylabel("Times as fast as ONNX Runtime's dynamic int8")
        save(picture, f"Encoder of {machine['shape']}", machine["processor"], panels[0][0], 3, path("time"))

    errors = {r["peer"]: r["mean"] for r in records.get("fidelity", []) if "mean" in r}
    front = [r for r in timed if r["tokens"] == FRONT_TOKENS and r["peer"] in errors and not r["held"]]
    if front:
        picture, panels = pyplot.subplots(1, len(threads), figsize=(width, 5), squeeze=False, sharey=True)
        for panel, count in zip(panels[0], threads):
            here = [r for r in front if r["threads"] == count]
            for record in here:
                colour, marker, _ = style(record)
                four = record["peer"].endswith("4")
                panel.plot(record["median_ms"], errors[record["peer"]], marker, color=colour, ms=9, mew=2,
                           mfc="none" if four else colour, ls="none", label=record["label"])
            # The front: those that nothing beats in both.
            best = [r for r in here if not any(
                o["median_ms"] < r["median_ms"] and errors[o["peer"]] < errors[r["peer"]] for o in here)]
            best.sort(key=lambda r: r["median_ms"])
            panel.plot([r["median_ms"] for r in best], [errors[r["peer"]] for r in best], "-", color=GREY, lw=1, zorder=0)
            panel.set(yscale="log", xlabel=f"Time of {FRONT_TOKENS} tokens (ms)", xlim=(0, None))
            panel.set_title("1 thread" if count == 1 else f"{count} threads", fontsize=11)
            panel.grid(True)
            panel.set_axisbelow(True)
            panel.tick_params(length=0, which="both", labelleft=True)
        panels[0][0].set_ylabel("1-cos of token vectors to fp32")
        note = f"{machine['processor']}; time of {machine['shape']}, error of all-MiniLM-L6-v2; hollow: 4 bits"
        save(picture, "Error against time", note, panels[0][0], 3, path("front"))


def write(results: Path) -> None:
    records = read(results)
    results.with_suffix(".md").write_text(markdown(records), encoding="utf-8")
    charts(records, lambda name: results.with_name(f"{results.stem}-{name}.svg"))
    print(f"peers: {results}, and beside it the table and the charts", file=sys.stderr)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
