#!/usr/bin/env bash
# RoBERTa-large's full shape, end to end: random weights (1.4 GB, in a temporary directory), `rq convert` to q8 and q4,
# `rq verify`, and the first `rq fill` of a new process, with what of it is spent where (`examples/first_answer.rs`).
# Prints sizes, times, and memory. Linux, with GNU time.
#
#     cargo build --release --workspace --examples --bins && benches/roberta-large.sh [DIRECTORY WITH ROOM FOR 2.1 GB]
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/rq-large.XXXXXX")
trap 'rm -rf "$work"' EXIT
rq=target/release/rq
text="The capital of France is <mask>, she said."

# Runs a command; sets `seconds`, and `anonymous` (kB not backed by a file), sampled every 20 ms.
measure() {
    local start end pid now
    anonymous=0
    start=$(date +%s.%N)
    "$@" >"$work/out" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        now=$(awk '/^RssAnon/{print $2}' "/proc/$pid/status" 2>/dev/null || true)
        ((${now:-0} > anonymous)) && anonymous=$now
        sleep 0.02
    done
    wait "$pid"
    end=$(date +%s.%N)
    seconds=$(awk -v a="$start" -v b="$end" 'BEGIN{printf "%.2f", b - a}')
}

echo "processor: $(awk -F': ' '/model name/{print $2; exit}' /proc/cpuinfo), $(nproc) cores; load $(cut -d' ' -f1 /proc/loadavg)"
echo "rq: $(git rev-parse --short HEAD), $(rustc --version)"
measure target/release/examples/random_checkpoint tests/data/roberta-large-tokenizer "$work/roberta-large"
echo "random checkpoint: $seconds s, $(stat -c %s "$work/roberta-large/model.safetensors") bytes"
for quant in q8 q4; do
    file="$work/$quant.rq"
    measure "$rq" convert "$work/roberta-large" --quant "$quant" --no-calibrate -o "$file"
    size=$(stat -c %s "$file")
    echo "$quant: convert $seconds s, $((anonymous / 1024)) MiB beyond mapped files; file $size bytes"
    measure "$rq" verify "$file"
    echo "$quant: verify $seconds s"
    echo "$quant: first answers of new processes, 12 tokens, the file cached, ms:"
    target/release/examples/first_answer "$file"
    peak=$(/usr/bin/time -f %M "$rq" fill --model "$file" --json "$text" 2>&1 >/dev/null | tail -n 1)
    echo "$quant: fill, resident at most $((peak / 1024)) MiB, file $((size / 1048576)) MiB"
done
