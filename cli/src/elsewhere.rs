//! Options that people know from Python and other programs, and what they are called here, or why there are none.

/// Names of options, without their dashes, and a sentence about all of them.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &[
            "device",
            "device-map",
            "gpu",
            "cuda",
            "cpu",
            "use-gpu",
            "n-gpu-layers",
        ],
        "rq computes on the CPU, on all of its cores; --threads sets how many",
    ),
    (
        &[
            "batch-size",
            "per-device-eval-batch-size",
            "batch",
            "chunk-size",
        ],
        "texts are put into batches by rq, and no answer depends on it; leave the option out",
    ),
    (
        &[
            "max-length",
            "max-len",
            "max-seq-length",
            "model-max-length",
            "truncation",
            "max-tokens",
        ],
        "a model has its own longest text, which `rq info` tells, and longer ones are refused, or cut with --truncate where a \
         command has that",
    ),
    (
        &["padding", "pad", "pad-to-max-length"],
        "texts are computed without padding; leave the option out",
    ),
    (
        &[
            "dtype",
            "torch-dtype",
            "fp16",
            "bf16",
            "half",
            "float16",
            "int8",
            "load-in-8bit",
            "load-in-4bit",
            "quantization",
            "quantize",
            "bits",
        ],
        "how weights are stored is chosen once, by `rq convert --quant`; of embeddings, --precision sets the type of the values",
    ),
    (
        &["k", "num-results", "n-best", "top-n", "limit"],
        "it is called --top-k, or -k, where a command has it",
    ),
    (
        &[
            "temperature",
            "top-p",
            "seed",
            "do-sample",
            "num-beams",
            "max-new-tokens",
            "num-return-sequences",
        ],
        "these models generate no text, and the same input always has the same answer; leave the option out",
    ),
    (
        &["task", "pipeline"],
        "the command is the task: `rq help` lists them",
    ),
    (
        &[
            "model-name",
            "model-name-or-path",
            "model-path",
            "checkpoint",
            "pretrained",
            "tokenizer",
            "tokenizer-name",
        ],
        "a model is one file with its tokenizer inside; --model, or -m, names it",
    ),
    (
        &[
            "num-threads",
            "n-threads",
            "num-workers",
            "workers",
            "jobs",
            "j",
            "num-proc",
        ],
        "it is called --threads",
    ),
    (
        &["trust-remote-code"],
        "a checkpoint's code is never run; leave the option out",
    ),
    (
        &["token", "use-auth-token", "hf-token"],
        "the token is that of the environment variable HF_TOKEN, or of `hf auth login`",
    ),
    (
        &["cache-dir", "local-files-only", "force-download", "offline"],
        "the environment variables HF_HUB_CACHE and HF_HUB_OFFLINE=1 do that",
    ),
    (
        &["aggregation-strategy", "grouped-entities"],
        "it is called --aggregation",
    ),
    (&["candidate-labels", "candidates"], "it is called --labels"),
    (&["hypothesis-template"], "it is called --template"),
    (
        &["function-to-apply", "return-all-scores"],
        "--function chooses what makes scores of logits, and --top-k how many labels are shown",
    ),
    (&["handle-impossible-answer"], "it is called --no-answer"),
    (&["max-answer-length"], "it is called --max-answer-len"),
    (&["normalize-embeddings"], "it is called --normalize"),
    (
        &["truncate-dim", "dimensions", "output-dim"],
        "it is called --dim",
    ),
    (&["prompt-name"], "it is called --prompt"),
    (
        &["output-value", "convert-to-numpy", "convert-to-tensor"],
        "--out writes a file for NumPy, and --pooling none gives a vector for each token",
    ),
    (
        &["input", "input-file", "data", "filename"],
        "texts come from --file, from standard input, or as arguments",
    ),
    (
        &["output-file", "output-dir", "save"],
        "answers go to standard output, and `>` puts them into a file; `rq convert` has --output, `rq embed` --out",
    ),
    (
        &["format", "output-format"],
        "--json and --jsonl choose the form of the output",
    ),
    (
        &[
            "verbose",
            "v",
            "quiet",
            "silent",
            "debug",
            "log-level",
            "show-progress-bar",
            "progress",
        ],
        "there is nothing to turn up or down; answers go to standard output, and what is said of them to standard error",
    ),
    (
        &["no-color", "no-colour", "colour"],
        "it is called --color, with auto, always or never",
    ),
];

/// What to say about an option that no command has, as it was typed.
pub(crate) fn advice(option: &str) -> Option<&'static str> {
    let name = option.split('=').next().unwrap_or(option);
    let name = name
        .trim_start_matches('-')
        .replace('_', "-")
        .to_lowercase();
    let known = OPTIONS.iter().find(|(names, _)| names.contains(&&*name));
    known.map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_known_however_it_is_written() {
        for option in [
            "--batch-size",
            "--batch_size=8",
            "--Batch-Size",
            "-batch_size",
        ] {
            assert!(
                advice(option).is_some_and(|a| a.contains("batches")),
                "{option}"
            );
        }
        assert_eq!(advice("--no-such"), None);
        let names = OPTIONS.iter().flat_map(|(names, _)| *names);
        let mut all: Vec<&str> = names.copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "each has one sentence");
    }
}
