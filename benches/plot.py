"""Draws what `rq bench --json` printed: time against length, measured and at the roofline.

    rq bench --json > bench.jsonl
    python benches/plot.py bench.jsonl bench.svg

Needs matplotlib. There is no background, and the colours are of medium lightness, so the picture can be read on white and
on black.
"""

import json
import sys

import matplotlib
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

GREY = "#7b828c"
COLOURS = {"q8": "#3b82f6", "q4": "#ea7317", "q4m": "#10a37f"}

pyplot.rcParams.update({
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 11,
    "grid.alpha": 0.3,
    "grid.color": GREY,
    "svg.fonttype": "none",
    "svg.hashsalt": "rq",
    "text.color": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
})


def log_axis(axis, ticks=None):
    """Makes an axis logarithmic, with plain numbers at its ticks."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    if ticks:
        axis.set_ticks(ticks)
    else:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def save(figure, title, subtitle, panel, columns, path):
    """Adds the headings and the legend, which is that of `panel`, and writes the picture."""
    handles, labels = panel.get_legend_handles_labels()
    height = figure.get_figheight()
    rows = -(-len(labels) // columns)
    figure.suptitle(title, fontsize=13, fontweight="bold", y=1 - 0.05 / height)
    figure.text(0.5, 1 - 0.46 / height, subtitle, ha="center", fontsize=10)
    figure.legend(handles, labels, loc="lower center", ncols=columns, frameon=False)
    figure.tight_layout(rect=(0, (0.06 + 0.23 * rows) / height, 1, 1 - 0.26 / height), w_pad=2)
    figure.savefig(path, transparent=True, metadata={"Date": None})


def by_length(panel, tokens, threads):
    """Makes a panel's axes those of a chart by length, both logarithmic, for so many threads."""
    log_axis(panel.xaxis, tokens)
    log_axis(panel.yaxis)
    panel.set_xlabel("Sequence length (tokens)")
    panel.set_title("1 thread" if threads == 1 else f"{threads} threads", fontsize=11)
    panel.grid(True)
    panel.set_axisbelow(True)


def draw(records, path):
    """Draws a panel for each number of threads, and a colour for each quantization."""
    peaks = next(record for record in records if record["type"] == "peaks")
    lengths = [record for record in records if record["type"] == "length"]
    threads = sorted({record["threads"] for record in lengths})
    quants = list(dict.fromkeys(record["quant"] for record in lengths))
    tokens = sorted({record["tokens"] for record in lengths})
    width = 4.3 * max(len(threads), 1.4) + 0.6
    figure, panels = pyplot.subplots(1, len(threads), figsize=(width, 4.8), sharey=True, squeeze=False)
    for panel, count in zip(panels[0], threads):
        for quant in quants:
            series = [r for r in lengths if (r["threads"], r["quant"]) == (count, quant)]
            series.sort(key=lambda record: record["tokens"])
            x, colour = [r["tokens"] for r in series], COLOURS.get(quant, GREY)
            panel.plot(x, [r["median_ms"] for r in series], "o-", color=colour, ms=4.5, lw=1.8, label=f"{quant}, measured")
            panel.plot(x, [r["roofline_ms"] for r in series], "--", color=colour, lw=1.3, label=f"{quant}, roofline")
        by_length(panel, tokens, count)
        panel.tick_params(length=0, labelleft=True)
    panels[0][0].set_ylabel("Time per pass (ms)")
    labels = len(panels[0][0].get_lines())
    save(figure, f"Encoder of {peaks['model']}", f"{peaks['machine']}, {peaks['isa']}", panels[0][0], labels, path)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        draw([json.loads(line) for line in file], sys.argv[2])
