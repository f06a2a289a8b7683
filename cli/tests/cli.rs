//! The command `rq`, as a user runs it.

use crate::common::{Ran, User, data, tests_path};
use rq::Isa;
use rq_kernels::kernels::{self, UnavailableIsa, kernels};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};

/// The message about a model that would have to be downloaded.
const NO_DOWNLOAD: &str = match cfg!(feature = "hub") {
    true => "HF_HUB_OFFLINE is set",
    false => "`hf download ",
};
const SEQUENCE: &str = "EVQL<mask>ESGG";

/// One result, in the fields and the order of transformers.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Written as Python writes it: the f32 as an f64.
    #[serde(serialize_with = "widened")]
    score: f32,
    token: u32,
    token_str: String,
    sequence: String,
}

fn widened<S: serde::Serializer>(score: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(f64::from(*score))
}

/// Parses a line of `--json`. Written again it must be the same: no other field, and this order.
#[track_caller]
fn parse<T: for<'a> Deserialize<'a> + Serialize>(line: &str) -> T {
    let value = serde_json::from_str(line).unwrap();
    assert_eq!(serde_json::to_string(&value).unwrap(), line);
    value
}

#[cfg(feature = "demo-model")]
mod embedded {
    use super::*;

    #[test]
    fn fill_prints_a_table_and_the_sentence() {
        let text = "She opened the <mask> and walked into the garden.";
        let ran = User::new().rq(&["fill", text]);
        assert_eq!(ran.code, Some(0));
        assert_eq!(
            ran.stderr,
            "rq: using the small embedded English model, because no model was named and roberta-large hasn't been \
             converted; see `rq convert --help`\n"
        );
        let lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.len(), 7, "{ran:?}");
        assert_eq!(lines[0], text);
        // A bar of 20 columns is 100 %, here as everywhere.
        assert_eq!(lines[1], "  door     14.33 %  ██▉", "{ran:?}");
        for row in &lines[2..6] {
            assert!(
                ["▋", "▌", "▍"]
                    .iter()
                    .any(|bar| row.ends_with(&format!(" %  {bar}"))),
                "{ran:?}"
            );
        }
        assert_eq!(lines[6], "She opened the door and walked into the garden.");
    }

    #[test]
    fn info_describes_it() {
        let ran = User::new().rq(&["info"]);
        assert_eq!(ran.code, Some(0));
        assert_eq!(ran.stderr.lines().count(), 1);
        assert!(
            ran.stdout
                .starts_with("file           the embedded model (")
        );
    }

    /// The embedded file is what the converter makes of the checkpoint, byte for byte.
    #[test]
    fn it_is_what_convert_makes() {
        let user = User::new();
        user.rq(&["convert", &data("demo-model")]).succeeds();
        let embedded = tests_path("../src/demo-model.rq");
        let converted = fs::read(user.path("data/demo-model.rq")).unwrap();
        assert!(converted == fs::read(embedded).unwrap());
    }
}

#[test]
fn json_is_what_the_pipeline_returns() {
    let user = User::with_model();
    let fill = |more: &[&str]| {
        let arguments = [&["fill", "--model", "sapiens-vh", "--json"], more].concat();
        user.rq(&arguments).succeeds().to_owned()
    };

    let one = fill(&[SEQUENCE]);
    let records: Vec<Record> = parse(one.trim_end());
    assert_eq!(records.len(), 5);
    assert_eq!(records[0].token_str, "V");
    assert_eq!(records[0].sequence, "EVQLVESGG");
    assert!(records.is_sorted_by(|a, b| a.score >= b.score));

    let several: Vec<Vec<Record>> = parse(fill(&["-k", "2", "EV<mask>L<mask>"]).trim_end());
    assert_eq!(several.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);

    let texts = fill(&[SEQUENCE, "<mask>VQL"]);
    let lines: Vec<&str> = texts.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], one.trim_end());
    let _: Vec<Record> = parse(lines[1]);
}

#[test]
fn several_masks_have_a_table_each_and_one_sentence() {
    let user = User::with_model().set("RQ_MODEL", "sapiens-vh");
    let ran = user.rq(&["fill", "-k", "1", "<mask><mask>QLVESGG"]);
    let lines: Vec<&str> = ran.succeeds().lines().collect();
    assert_eq!(lines.len(), 6, "{ran:?}");
    assert_eq!((lines[1], lines[3]), ("  mask 1", "  mask 2"));
    let best = |row: &str| row.trim_start().chars().next().unwrap();
    let completed = format!("{}{}QLVESGG", best(lines[2]), best(lines[4]));
    assert_eq!(lines[5], completed);
}

#[test]
fn targets_that_are_no_tokens_are_warned_of() {
    let user = User::with_model().set("RQ_MODEL", "sapiens-vh");
    let ran = user.rq(&["fill", "--json", "--targets", "L,VV,a", SEQUENCE]);
    assert_eq!(ran.code, Some(0));
    let records: Vec<Record> = parse(ran.stdout.trim_end());
    let tokens: Vec<&str> = records.iter().map(|r| r.token_str.as_str()).collect();
    assert_eq!(tokens, ["V", "L"]);
    assert_eq!(
        ran.stderr,
        "rq: warning: The specified target token `VV` does not exist in the model vocabulary. Replacing with `V`.\n\
         rq: warning: The specified target token `a` does not exist in the model vocabulary. We cannot replace it with \
         anything meaningful, ignoring it\n"
    );
}

#[test]
fn how_it_is_computed_changes_no_byte() {
    let user = User::with_model().set("RQ_MODEL", "sapiens-vh");
    let fill = ["fill", "--json", "-k", "25", SEQUENCE, "EV<mask>L<mask>"];
    let expected = user.rq(&fill);
    let expected = expected.succeeds();
    for isa in Isa::ALL {
        let forced = User::with_model()
            .set("RQ_MODEL", "sapiens-vh")
            .set("RQ_ISA", isa.name());
        let by_variable = forced.rq(&fill);
        let by_flag =
            |threads| user.rq(&[&fill[..], &["--isa", isa.name(), "--threads", threads]].concat());
        if kernels(isa).is_ok() {
            for ran in [by_variable, by_flag("1"), by_flag("2")] {
                assert_eq!(ran.succeeds(), expected, "{}", ran.command);
            }
        } else {
            let lacking = match kernels(isa) {
                Err(UnavailableIsa::NotCompiled(_)) => {
                    format!("this build has no kernels for {isa}")
                }
                _ => format!("this machine doesn't have {isa}; it has scalar"),
            };
            by_flag("1").fails(&[&lacking]);
            by_variable.fails(&[&lacking, "RQ_ISA"]);
            // The flag wins.
            forced
                .rq(&[&fill[..], &["--isa", "scalar"]].concat())
                .succeeds();
        }
    }
}

#[test]
fn a_converted_model_is_found_by_name() {
    let user = User::new();
    let ran = user.rq(&["convert", &data("sapiens-vh")]);
    let file = user.at("data/sapiens-vh.rq");
    assert!(ran.succeeds().starts_with(&format!("{file}: ")), "{ran:?}");
    let by_name = user.rq(&["fill", "--model", "sapiens-vh", SEQUENCE]);
    let by_path = user.rq(&["fill", "-m", &file, SEQUENCE]);
    assert_eq!(by_name.succeeds(), by_path.succeeds());
    // Also where the checkpoint's directory is at hand under the same name.
    user.copy("sapiens-vh", "sapiens-vh");
    let beside = user.rq(&["fill", "--model", "sapiens-vh", SEQUENCE]);
    assert_eq!(beside.succeeds(), by_name.succeeds());
    // The variable names it as well; the flag wins.
    let named = User::with_model().set("RQ_MODEL", "sapiens-vh");
    let by_variable = named.rq(&["fill", SEQUENCE]);
    assert_eq!(by_variable.succeeds(), by_name.succeeds());
    named
        .rq(&["fill", "-m", "other", SEQUENCE])
        .fails(&["no model \"other\""]);
}

#[test]
fn roberta_large_is_the_default_once_it_is_converted() {
    let from_directory = User::new();
    from_directory.copy("sapiens-vh", "roberta-large");
    from_directory.rq(&["convert", "roberta-large"]).succeeds();
    assert!(from_directory.path("data/roberta-large.rq").is_file());

    let from_cache = User::new();
    let repository = "hf/hub/models--FacebookAI--roberta-large";
    from_cache.copy("sapiens-vh", &format!("{repository}/snapshots/c0ffee"));
    from_cache.rq(&["convert", "roberta-large"]).succeeds();
    let file = from_cache.path("data/FacebookAI--roberta-large.rq");
    assert!(file.is_file());
    let info = from_cache.rq(&["info", "--json"]);
    let info: Value = serde_json::from_str(info.succeeds()).unwrap();
    let provenance = &info["provenance"];
    assert_eq!(provenance["source"], "FacebookAI/roberta-large");
    assert_eq!(provenance["revision"], "c0ffee");

    for user in [from_directory, from_cache] {
        let default = user.rq(&["fill", SEQUENCE]);
        let named = user.rq(&["fill", "-m", "roberta-large", SEQUENCE]);
        assert_eq!(default.succeeds(), named.succeeds());
        assert!(default.stdout.ends_with("\nEVQLVESGG\n"));
    }
}

/// Numbers that went through JSON may differ in their last digits.
#[track_caller]
fn assert_close(a: f64, b: f64) {
    assert!((a / b - 1.0).abs() < 1e-9, "{a}, {b}");
}

#[test]
fn bench_measures_a_model() {
    let user = User::with_model();
    let bench = [
        "bench",
        "--model",
        "sapiens-vh",
        "--lengths",
        "8,16",
        "--threads",
        "1",
    ];
    let ran = user.rq(&[&bench[..], &["--batch", "--json"]].concat());
    let records: Vec<Value> = ran
        .succeeds()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let types: Vec<&Value> = records.iter().map(|record| &record["type"]).collect();
    assert_eq!(types, ["peaks", "length", "length", "batch", "load"]);
    let number = |value: &Value| {
        let number = value.as_f64().unwrap_or_else(|| panic!("{ran:?}"));
        assert!(number > 0.0, "{ran:?}");
        number
    };

    let peaks = &records[0];
    assert_eq!(peaks["encoder_weights"], 524_288);
    assert_eq!(peaks["isa"], kernels::best().isa().name());
    assert_eq!(peaks["threads"], 1);
    let attention = (4 * 4 * 128) as f64;
    for (record, tokens) in records[1..3].iter().zip([8.0, 16.0]) {
        assert_eq!(
            (&record["quant"], number(&record["tokens"])),
            (&"q8".into(), tokens)
        );
        let (median, roofline) = (number(&record["median_ms"]), number(&record["roofline_ms"]));
        assert_close(number(&record["fraction"]), roofline / median);
        let operations = 2.0 * 524_288.0 * tokens + attention * tokens * tokens;
        let least = operations / number(&peaks["int8_gops"]) / 1e6;
        assert!(roofline > 0.999 * least, "{ran:?}");
        let spread = ["min", "lower_quartile", "upper_quartile", "max"];
        let spread = spread.map(|name| number(&record["spread_ms"][name]));
        assert!(
            spread.is_sorted() && spread[1] <= median && median <= spread[2],
            "{ran:?}"
        );
        for part in ["products", "attention", "element_wise", "quantization"] {
            number(&record["breakdown_ms"][part]);
        }
        assert!(number(&record["runs"]) >= 5.0);
        number(&record["head_ms"]);
    }
    let batch = &records[3];
    let rate = |of: &str| number(&batch[of]["tokens_per_s"]);
    assert_close(number(&batch["of_single"]), rate("ragged") / rate("single"));
    assert_eq!(batch["single"]["tokens"], 144);
    assert!(number(&batch["padded"]["tokens"]) > number(&batch["ragged"]["tokens"]));
    number(&records[4]["load_ms"]);

    let table = user.rq(&bench);
    let lines: Vec<&str> = table.succeeds().lines().collect();
    assert!(
        lines[0].starts_with("rq ") && lines[2].ends_with(", q8, 1 thread"),
        "{table:?}"
    );
    assert!(lines[3].starts_with("peaks: "), "{table:?}");
    for (row, tokens) in lines[6..8].iter().zip(["8", "16"]) {
        assert_eq!(row.split_whitespace().next(), Some(tokens), "{table:?}");
    }
}

#[test]
fn bench_needs_no_model() {
    let user = User::new();
    let temporary = user.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let user = user.set("TMPDIR", temporary.to_str().unwrap());
    let bench = [
        "bench",
        "--shape",
        "distilroberta-base",
        "--lengths",
        "1",
        "--threads",
        "1",
    ];
    let ran = user.rq(&bench);
    for part in [
        "distilroberta-base with random weights, q8, 1 thread\n",
        ", q4, 1 thread\n",
    ] {
        assert!(ran.succeeds().contains(part), "{ran:?}");
    }
    assert_eq!(fs::read_dir(temporary).unwrap().count(), 0);
}

#[test]
fn bench_refuses_what_it_cannot_measure() {
    let user = User::with_model();
    let model = ["--model", "sapiens-vh"];
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--lengths", "0"],
            &["'0' for '--lengths", "a whole number from 1 to"],
        ),
        (&["--lengths", "8,x"], &["'x' for '--lengths"]),
        (&["--lengths", "8,-1"], &["'-1' for '--lengths"]),
        (
            &["--lengths", "513"],
            &["--lengths 513", "at most 512 tokens"],
        ),
        (
            &["--model", "sapiens-vh", "--lengths", "8,145"],
            &["--lengths 145", "at most 144"],
        ),
        (&["--threads", "0"], &["'0' for '--threads"]),
        (
            &["--shape", "bert"],
            &["'bert'", "roberta-large, roberta-base, distilroberta-base"],
        ),
        (&["--quant", "q5"], &["'q5'", "q8, q4"]),
        (
            &[model[0], model[1], "--quant", "q8"],
            &["--model", "--quant"],
        ),
        (
            &[model[0], model[1], "--shape", "roberta-base"],
            &["--model", "--shape"],
        ),
        (&["--model", "nowhere"], &["no model \"nowhere\""]),
    ];
    for (arguments, parts) in cases {
        user.rq(&[&["bench"], *arguments].concat()).fails(parts);
    }
}

#[test]
fn convert_makes_the_same_bytes_again() {
    let user = User::new();
    let mut lengths = Vec::new();
    for quant in ["q8", "q4"] {
        let make = |name: &str, threads: &str| {
            let file = user.at(name);
            let source = data("sapiens-vh");
            user.rq(&[
                "convert",
                &source,
                "--no-calibrate",
                "--quant",
                quant,
                "--threads",
                threads,
                "-o",
                &file,
            ])
            .succeeds();
            user.rq(&["fill", "-m", &file, SEQUENCE]).succeeds();
            fs::read(file).unwrap()
        };
        let first = make("a.rq", "1");
        assert!(first == make("b.rq", "2"));
        // In place of the one that is there.
        assert!(first == make("a.rq", "2"));
        lengths.push(first.len());
    }
    assert!(lengths[1] < lengths[0] * 2 / 3, "{lengths:?}");
    assert!(!user.path("data").exists());
}

#[test]
fn info_tells_what_a_file_holds() {
    let user = User::with_model();
    let ran = user.rq(&["info", "sapiens-vh"]);
    for part in [
        "sapiens-vh.rq (663.6 kB)",
        "architecture   roberta, masked_lm\n",
        "quantization   q8\n",
        "layers         4 of hidden size 128, 8 heads, feed-forward 256\n",
        "vocabulary     25 tokens\n",
        "longest text   144 tokens",
        "arena          ",
        " for one text of 144 tokens on ",
        "source         sapiens-vh\n",
        "model.safetensors (2.3 MB), sha256 ",
        "converter      rq-convert ",
        "\nencoder matrices   q8          16       524288   532.5 kB   8.12\n",
    ] {
        assert!(ran.succeeds().contains(part), "no {part:?} in {ran:?}");
    }

    let file = user.path("data/sapiens-vh.rq");
    let ran = user.rq(&["info", "--json", "sapiens-vh"]);
    assert_eq!(ran.succeeds().lines().count(), 1);
    let info: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(info["file"], file.to_str().unwrap());
    assert_eq!(info["bytes"], fs::metadata(&file).unwrap().len());
    assert_eq!(info["config"]["hidden_size"], 128);
    assert_eq!(info["max_tokens"], 144);
    let arena = |flags: &[&str]| {
        let ran = user.rq(&[&["info", "--json", "sapiens-vh"], flags].concat());
        let info: Value = serde_json::from_str(ran.succeeds()).unwrap();
        info["arena"].clone()
    };
    let (small, large) = (
        arena(&["--tokens", "16", "--threads", "1"]),
        arena(&["--batch", "64", "--threads", "1"]),
    );
    assert_eq!(small["tokens"], 16);
    assert_eq!(
        (&large["tokens"], &large["batch"], &large["threads"]),
        (&144.into(), &64.into(), &1.into())
    );
    assert!(small["bytes"].as_u64().unwrap() * 100 < large["bytes"].as_u64().unwrap());
    user.rq(&["info", "--tokens", "145", "sapiens-vh"])
        .fails(&["--tokens 145", "at most 144"]);
    let tensors = info["tensors"].as_array().unwrap();
    let parameters =
        |tensor: &Value| tensor["rows"].as_u64().unwrap() * tensor["columns"].as_u64().unwrap();
    assert_eq!(
        info["parameters"].as_u64(),
        Some(tensors.iter().map(parameters).sum())
    );
    let sizes = info["sizes"].as_array().unwrap();
    let counted: u64 = sizes.iter().map(|s| s["tensors"].as_u64().unwrap()).sum();
    assert_eq!(counted, tensors.len() as u64);

    let fingerprint = info["fingerprint"].as_str().unwrap();
    let verified = user.rq(&["verify", "sapiens-vh"]);
    assert_eq!(
        verified.succeeds(),
        format!(
            "{}: sound: {} tensors, 663.6 kB, fingerprint {fingerprint}\n",
            file.display(),
            tensors.len()
        )
    );
}

#[test]
fn info_tells_which_kernels_this_processor_gets() {
    let user = User::new();
    let ran = user.rq(&["info", "--cpu", "--json"]);
    let cpu: Value = serde_json::from_str(ran.succeeds()).unwrap();
    let sets = cpu["instruction_sets"].as_array().unwrap();
    let names: Vec<&str> = sets.iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, Isa::ALL.map(Isa::name));
    let text = user.rq(&["info", "--cpu"]);
    for (isa, set) in Isa::ALL.into_iter().zip(sets) {
        let (compiled, detected, words) = match kernels(isa) {
            Ok(_) => (true, true, "compiled in; "),
            Err(UnavailableIsa::NotDetected(_)) => (true, false, "compiled in; not detected: "),
            Err(UnavailableIsa::NotCompiled(_)) => (false, false, "not in this build"),
        };
        assert_eq!(
            (&set["compiled"], &set["detected"]),
            (&compiled.into(), &detected.into())
        );
        let line = format!("\n{:<14} {words}", isa.name());
        assert!(text.succeeds().contains(&line), "no {line:?} in {text:?}");
    }
    let best = Isa::ALL
        .into_iter()
        .rfind(|&isa| kernels(isa).is_ok())
        .unwrap();
    assert_eq!(cpu["chosen"], best.name());

    let forced = User::new().set("RQ_ISA", "scalar").rq(&["info", "--cpu"]);
    assert!(
        forced.succeeds().contains("\nchosen         scalar\n"),
        "{forced:?}"
    );
    let wrong = User::new().set("RQ_ISA", "sse9").rq(&["info", "--cpu"]);
    wrong.fails(&["RQ_ISA=sse9", "scalar, avx2"]);
    user.rq(&["info", "--cpu", "model.rq"])
        .fails(&["--cpu", "cannot be used with"]);
}

#[test]
fn texts_that_cannot_be_filled() {
    let user = User::with_model().set("RQ_MODEL", "sapiens-vh");
    let long = "E".repeat(200);
    let masked = format!("<mask>{long}");
    let cut_off = format!("{long}<mask>");
    let cases: &[(&[&str], &[&str])] = &[
        (&["EVQL"], &["no mask token", "\"EVQL\"", "write <mask>"]),
        (
            &["EV[MASK]"],
            &["write <mask>", "[MASK] is the mask of other models"],
        ),
        (&["two\nlines"], &["no mask token", "two\\nlines"]),
        (&[""], &["the text is empty", "mask token"]),
        (&[&masked], &["203 tokens", "at most 144", "--truncate"]),
        (
            &["--truncate", &cut_off],
            &[
                "144 of 203 tokens",
                "<mask>",
                "away from where the text is cut",
            ],
        ),
        (&["--truncate", &long], &["no mask token"]),
        (&[SEQUENCE, "EVQL"], &["text 2 of 2: no mask token"]),
        (&["-k", "26", SEQUENCE], &["26 best", "only 25"]),
        (&["--targets", "", SEQUENCE], &["none of the targets"]),
        (&["--targets", "a,b", SEQUENCE], &["none of the targets"]),
    ];
    for (arguments, parts) in cases {
        user.rq(&[&["fill"], *arguments].concat()).fails(parts);
    }
    let truncated = user.rq(&["fill", "--truncate", &masked]);
    let last = truncated.succeeds().lines().last().unwrap();
    assert_eq!(last.len(), 142, "144 without <s> and </s>");
}

#[test]
fn arguments_that_are_refused() {
    let user = User::with_model();
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["fil"],
            &["unrecognized subcommand 'fil'", "'fill'", "see --help"],
        ),
        (&["fill", "--topk", "3"], &["'--topk'", "'--top-k'"]),
        (
            &["fill", "-k", "many"],
            &["'many'", "--top-k", "a whole number from 1 up is needed"],
        ),
        (
            &["fill", "-k", "-1"],
            &["'-1'", "--top-k", "a whole number from 1 up is needed"],
        ),
        (&["fill", "-k", "0"], &["'0'", "from 1 up"]),
        (&["classify", "-k", "0"], &["'0'", "from 1 up"]),
        (
            &["fill", "-k", "99999999999"],
            &["--top-k", "the number is too large"],
        ),
        (&["embed", "--dim", "-1"], &["'-1'", "from 1 up"]),
        (
            &["fill", "--threads", "0"],
            &["--threads", "a whole number from 1 to 1024 is needed"],
        ),
        (
            &["fill", "--threads", "-2"],
            &["--threads", "a whole number from 1 to 1024 is needed"],
        ),
        (
            &["fill", "--threads", "100000"],
            &["--threads", "from 1 to 1024"],
        ),
        (
            &["convert", ".", "--threads", "0"],
            &["--threads", "from 1 to 1024"],
        ),
        (
            &["fill", "--isa", "sse9"],
            &["'sse9'", "--isa", "scalar, avx2"],
        ),
        (&["fill", "--isa", ""], &["--isa", "scalar, avx2"]),
        (
            &["convert", ".", "-q", "q5"],
            &["'q5'", "--quant", "q8, q4"],
        ),
        (
            &["info", "--tokens", "x"],
            &["--tokens", "a whole number from 1 up is needed"],
        ),
        (
            &["info", "--tokens", "0"],
            &["--tokens", "a whole number from 1 up is needed"],
        ),
        (
            &["info", "--tokens", "99999999999999999999"],
            &["--tokens", "the number is too large"],
        ),
        (
            &["info", "--batch", "-1"],
            &["--batch", "a whole number from 1 to 65536 is needed"],
        ),
        (
            &["embed", "--max-active-dims", "0"],
            &["--max-active-dims", "from 1 up"],
        ),
        (
            &["answer", "--max-answer-len", "0"],
            &["--max-answer-len", "from 1 up"],
        ),
        (
            &["fill", "--device", "cuda"],
            &["no option --device", "on the CPU", "--threads"],
        ),
        (
            &["embed", "--batch_size=8", "a"],
            &["no option --batch_size", "into batches by rq"],
        ),
        (
            &["classify", "--max-length", "9"],
            &["no option --max-length", "--truncate"],
        ),
        (
            &["embed", "--dtype", "float16"],
            &["no option --dtype", "--quant", "--precision"],
        ),
        (&["convert"], &["not provided", "<SOURCE>"]),
        (&["verify"], &["not provided", "<FILE|NAME>"]),
    ];
    for (arguments, parts) in cases {
        user.rq(arguments).fails(parts);
    }
    User::with_model()
        .set("RQ_MODEL", "sapiens-vh")
        .set("RQ_ISA", "sse9")
        .rq(&["fill", SEQUENCE])
        .fails(&["RQ_ISA=sse9", "unknown instruction set", "scalar, avx2"]);
}

#[test]
fn models_that_are_not_there() {
    let user = User::with_model();
    let file = user.at("data/other.rq");
    for command in [["fill", "-m"].as_slice(), &["info"], &["verify"]] {
        let named = |name| user.rq(&[command, &[name]].concat());
        named("other").fails(&["no model \"other\"", &file, "`rq convert`"]);
        let directory = data("sapiens-vh");
        named(&directory).fails(&[
            &directory,
            "is a directory",
            &format!("`rq convert {directory}`"),
        ]);
    }
    User::new()
        .set("RQ_MODEL", "other")
        .rq(&["fill", SEQUENCE])
        .fails(&["RQ_MODEL=other", "no model", "`rq convert`"]);
}

#[test]
fn files_that_are_no_models() {
    let user = User::with_model();
    let sound = fs::read(user.path("data/sapiens-vh.rq")).unwrap();
    let (file, advice) = (user.at("damaged.rq"), "convert the model again");
    let check = |bytes: &[u8], part: &str| {
        fs::write(&file, bytes).unwrap();
        for command in [["fill", SEQUENCE, "-m"].as_slice(), &["info"]] {
            let ran = user.rq(&[command, &[&file]].concat());
            ran.fails(&[&file, advice, part]);
        }
        user.rq(&["verify", &file]).finds(&[&file, advice, part]);
    };
    check(b"", "0 bytes");
    check(b"The old man\nand the sea\n", "not an rq model");
    // What isn't called a model never was one.
    for (name, parts) in [
        ("notes.txt", ["never was", "`rq list`"]),
        (
            "model.safetensors",
            ["has weights that aren't converted", "`rq convert "],
        ),
        (
            "pytorch_model.bin",
            ["has weights that aren't converted", "`rq convert "],
        ),
        (
            "model.onnx",
            ["another program's format", "pytorch_model.bin"],
        ),
        (
            "model.Q8_0.gguf",
            ["another program's format", "model.safetensors"],
        ),
    ] {
        for content in [&b"The old man\nand the sea\n"[..], b"ab"] {
            fs::write(user.path(name), content).unwrap();
            user.rq(&["fill", "-m", name, SEQUENCE])
                .fails(&[name, parts[0], parts[1]]);
            user.rq(&["verify", name])
                .finds(&[name, parts[0], parts[1]]);
        }
    }
    user.rq(&["verify", "nowhere.rq"]).fails(&["no model"]);
    for length in [5, 100, 5000, sound.len() - 1] {
        check(&sound[..length], &format!("{length}"));
    }
    let mut header = sound.clone();
    header[70] ^= 1;
    check(&header, "the header and the section table are damaged");
    let mut config = sound.clone();
    config[256] ^= 1;
    check(&config, "the section Config is damaged");

    // Tensors are read when they are used: only `verify` looks at each.
    let mut tensor = sound.clone();
    *tensor.last_mut().unwrap() ^= 1;
    fs::write(&file, &tensor).unwrap();
    user.rq(&["info", &file]).succeeds();
    user.rq(&["verify", &file])
        .finds(&[&file, advice, "the tensor `", "is damaged"]);

    for (version, said) in [(3, "made by a newer rq"), (1, "made by an earlier rq")] {
        let mut other = sound.clone();
        other[8] = version;
        fs::write(&file, &other).unwrap();
        user.rq(&["verify", &file])
            .fails(&[&file, said, &format!("version {version}")]);
    }
}

/// Each changes a copy of a model so that it can't be converted.
#[test]
fn checkpoints_that_cannot_be_converted() {
    type Change = fn(&Path);
    let cases: &[(Change, &[&str])] = &[
        (
            |model| fs::remove_file(model.join("config.json")).unwrap(),
            &["has no config.json", "`save_pretrained`"],
        ),
        (
            |model| {
                edit(
                    model,
                    "config.json",
                    "RobertaForMaskedLM",
                    "AlbertForMaskedLM",
                );
            },
            &[
                "config.json",
                "AlbertForMaskedLM",
                "supported: Roberta, XLMRoberta, Camembert, Bert, DistilBert, Electra and MPNet",
            ],
        ),
        (
            |model| {
                edit(
                    model,
                    "config.json",
                    "\"hidden_size\": 128",
                    "\"hidden_size\": 130",
                );
            },
            &["config.json"],
        ),
        (
            |model| fs::write(model.join("config.json"), "{").unwrap(),
            &["config.json", "isn't the JSON"],
        ),
        (
            |model| fs::remove_file(model.join("model.safetensors")).unwrap(),
            &["has no weights", "model.safetensors"],
        ),
        (
            |model| cut(&model.join("model.safetensors"), 1000),
            &[
                "model.safetensors has",
                "incomplete or damaged",
                "download it again",
            ],
        ),
        (
            |model| {
                let weights = model.join("model.safetensors");
                fs::rename(&weights, model.join("shard.safetensors")).unwrap();
                cut(&model.join("shard.safetensors"), 1000);
                let index = r#"{"weight_map": {"lm_head.bias": "shard.safetensors"}}"#;
                fs::write(model.join("model.safetensors.index.json"), index).unwrap();
            },
            &[
                "shard.safetensors has",
                "incomplete or damaged",
                "download it again",
            ],
        ),
        (
            |model| {
                let path = model.join("model.safetensors");
                let mut bytes = fs::read(&path).unwrap();
                let last = bytes.len() - 4;
                bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
                fs::write(path, bytes).unwrap();
            },
            &["model.safetensors", "the tensor `", "has NaN at row"],
        ),
        (
            |model| {
                fs::remove_file(model.join("model.safetensors")).unwrap();
                fs::write(model.join("pytorch_model.bin"), "PK").unwrap();
            },
            &[
                "pytorch_model.bin",
                "isn't what torch.save writes",
                "download it again",
            ],
        ),
        (
            |model| {
                for file in ["tokenizer.json", "vocab.json"] {
                    fs::remove_file(model.join(file)).unwrap();
                }
            },
            &["has no tokenizer", "tokenizer.json"],
        ),
        (
            |model| fs::write(model.join("tokenizer.json"), "{}").unwrap(),
            &["tokenizer.json isn't a tokenizer that rq can use"],
        ),
    ];
    let user = User::new();
    let output = user.at("out/model.rq");
    fs::create_dir(user.path("out")).unwrap();
    fs::write(&output, "what was there").unwrap();
    for (number, (change, parts)) in cases.iter().enumerate() {
        let model = user.copy("sapiens-vh", &number.to_string());
        change(&model);
        user.rq(&["convert", model.to_str().unwrap(), "-o", &output])
            .fails(parts);
        assert_eq!(fs::read(&output).unwrap(), b"what was there");
        assert_eq!(fs::read_dir(user.path("out")).unwrap().count(), 1);
    }
}

/// Replaces a part of a text file.
fn edit(model: &Path, file: &str, from: &str, to: &str) {
    let path = model.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    fs::write(path, text.replace(from, to)).unwrap();
}

/// Cuts bytes off the end of a file.
fn cut(file: &Path, bytes: usize) {
    let content = fs::read(file).unwrap();
    fs::write(file, &content[..content.len() - bytes]).unwrap();
}

#[test]
fn sources_and_outputs_that_are_not_there() {
    let user = User::new();
    let (source, cache) = (data("sapiens-vh"), user.at("hf"));
    let file = user.at("file");
    fs::write(&file, "").unwrap();
    let in_file = format!("{file}/model.rq");
    let missing = user.at("nowhere/model.rq");
    let home = user.at("");
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["./nowhere"],
            &["no directory ./nowhere", "give a directory"],
        ),
        (
            &["nowhere"],
            &[NO_DOWNLOAD, &cache, "models--nowhere", "nowhere"],
        ),
        (
            &["roberta-large"],
            &[
                NO_DOWNLOAD,
                &cache,
                "models--roberta-large or models--FacebookAI--roberta-large",
            ],
        ),
        (&[&file], &[&file, "is a file", "config.json"]),
        (&[&source, "-o", &missing], &["nowhere", "No such file"]),
        (&[&source, "-o", &in_file], &[&file, "can't create"]),
        (&[&source, "-o", &home], &["can't create", "directory"]),
    ];
    for (arguments, parts) in cases {
        user.rq(&[&["convert"], *arguments].concat()).fails(parts);
    }
    let model = user.copy("sapiens-vh", "model");
    let weights = model.join("model.safetensors");
    let before = fs::read(&weights).unwrap();
    let output = weights.to_str().unwrap();
    user.rq(&["convert", "model", "-o", output]).fails(&[
        output,
        "part of the model",
        "choose another output",
    ]);
    assert!(fs::read(&weights).unwrap() == before);

    let user = user.set("RQ_DATA_DIR", &file);
    user.rq(&["convert", &source])
        .fails(&["can't create", &file]);
}

#[cfg(target_os = "linux")]
mod interrupts {
    use super::*;
    use serde_json::json;
    use std::fs::File;
    use std::io::Read;
    use std::time::{Duration, Instant};

    fn send(signal: &str, child: &Child) {
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    fn names(directory: &Path) -> Vec<String> {
        let name = |file: std::io::Result<fs::DirEntry>| file.unwrap().file_name();
        let names = fs::read_dir(directory).unwrap().map(name);
        names.map(|n| n.into_string().unwrap()).collect()
    }

    /// sapiens-vh with larger layers, whose weights are all zero and take no space on the disk.
    fn slow_model(user: &User) -> String {
        let model = user.copy("sapiens-vh", "slow");
        edit(
            &model,
            "config.json",
            "\"hidden_size\": 128",
            "\"hidden_size\": 1024",
        );
        edit(
            &model,
            "config.json",
            "\"intermediate_size\": 256",
            "\"intermediate_size\": 16384",
        );
        let path = model.join("model.safetensors");
        let mut file = File::open(&path).unwrap();
        let mut length = [0; 8];
        file.read_exact(&mut length).unwrap();
        let mut header = vec![0; u64::from_le_bytes(length) as usize];
        file.read_exact(&mut header).unwrap();
        let mut header: serde_json::Map<String, Value> = serde_json::from_slice(&header).unwrap();
        header.remove("__metadata__");
        let mut end = 0;
        for tensor in header.values_mut() {
            let mut bytes = 4;
            for size in tensor["shape"].as_array_mut().unwrap() {
                let larger = match size.as_u64().unwrap() {
                    128 => 1024,
                    256 => 16384,
                    other => other,
                };
                *size = larger.into();
                bytes *= larger;
            }
            tensor["dtype"] = "F32".into();
            tensor["data_offsets"] = json!([end, end + bytes]);
            end += bytes;
        }
        let header = serde_json::to_vec(&header).unwrap();
        let mut file = File::create(&path).unwrap();
        file.write_all(&(header.len() as u64).to_le_bytes())
            .unwrap();
        file.write_all(&header).unwrap();
        file.set_len(8 + header.len() as u64 + end).unwrap();
        model.to_str().unwrap().to_owned()
    }

    /// Whether this process, and so what it starts, ignores a signal: under `nohup`, and behind a shell's `&`.
    fn is_ignored(signal: u32) -> bool {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
        let mask = mask.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap());
        mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
    }

    #[test]
    fn an_interrupted_conversion_leaves_nothing_behind() {
        let user = User::new();
        let (model, out) = (slow_model(&user), user.path("out"));
        let output = user.at("out/model.rq");
        fs::create_dir(&out).unwrap();
        fs::write(&output, "what was there").unwrap();
        let signals = [
            ("INT", 2),
            ("TERM", 15),
            ("HUP", 1),
            ("QUIT", 3),
            ("USR1", 10),
            ("XCPU", 24),
        ];
        for (signal, number) in signals {
            if is_ignored(number) {
                eprintln!("SKIP SIG{signal}: whoever runs the tests has it ignored");
                continue;
            }
            let arguments = [
                "convert",
                &model,
                "-q",
                "q4",
                "--threads",
                "1",
                "-o",
                &output,
            ];
            let mut child = user.spawn(&arguments);
            let started = Instant::now();
            while names(&out).len() < 2 {
                assert!(
                    child.try_wait().unwrap().is_none(),
                    "it ended before it began to write"
                );
                assert!(started.elapsed() < Duration::from_secs(60));
                std::thread::sleep(Duration::from_millis(1));
            }
            send(signal, &child);
            let ran = Ran::new(&arguments, child.wait_with_output().unwrap());
            assert_eq!(ran.code, Some(130), "{ran:?}");
            assert_eq!(
                (ran.stdout.as_str(), ran.stderr.as_str()),
                ("", "rq: interrupted\n")
            );
            assert_eq!(names(&out), ["model.rq"]);
            assert_eq!(fs::read(&output).unwrap(), b"what was there");
        }
    }

    /// As `nohup` does it.
    #[test]
    fn a_signal_that_the_parent_ignores_is_ignored() {
        let user = User::new();
        let (model, out) = (slow_model(&user), user.path("out"));
        fs::create_dir(&out).unwrap();
        let mut child = Command::new("sh")
            .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
            .args([env!("CARGO_BIN_EXE_rq"), "convert", &model, "-q", "q4"])
            .args(["--threads", "1", "-o", &user.at("out/model.rq")])
            .spawn()
            .unwrap();
        let started = Instant::now();
        while names(&out).is_empty() {
            assert!(started.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1));
        }
        send("HUP", &child);
        std::thread::sleep(Duration::from_millis(50));
        assert!(child.try_wait().unwrap().is_none());
        send("TERM", &child);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(names(&out), Vec::<String>::new());
    }

    /// From before the handler is there until after the file is whole.
    #[test]
    fn an_interrupt_at_any_moment_leaves_a_whole_file_or_none() {
        let user = User::new();
        let (model, out) = (data("sapiens-vh"), user.path("out"));
        let output = user.at("out/model.rq");
        fs::create_dir(&out).unwrap();
        let whole = Instant::now();
        user.rq(&["convert", &model, "-o", &output]).succeeds();
        let (whole, expected) = (whole.elapsed(), fs::read(&output).unwrap());
        for part in 0..24 {
            let _ = fs::remove_file(&output);
            let child = user.spawn(&["convert", &model, "-o", &output]);
            std::thread::sleep(whole * part / 20);
            send("INT", &child);
            let ran = Ran::new(&["convert"], child.wait_with_output().unwrap());
            // None: killed before it could handle the signal.
            assert!(matches!(ran.code, None | Some(0 | 130)), "{ran:?}");
            match &names(&out)[..] {
                [] => assert_ne!(ran.code, Some(0), "{ran:?}"),
                [name] if name == "model.rq" => assert!(fs::read(&output).unwrap() == expected),
                other => panic!("{other:?} {ran:?}"),
            }
        }
    }
}

#[test]
fn nobody_has_to_read_to_the_end() {
    let user = User::with_model().set("RQ_MODEL", "sapiens-vh");
    for format in [&["--json"][..], &[]] {
        let arguments = [&["fill", "-k", "25"], format].concat();
        let mut child = user.spawn(&arguments);
        // Input comes only after the reader is gone.
        drop(child.stdout.take());
        let mut input = child.stdin.take().unwrap();
        input.write_all(SEQUENCE.as_bytes()).unwrap();
        drop(input);
        let ran = Ran::new(&arguments, child.wait_with_output().unwrap());
        assert_eq!(ran.succeeds(), "");

        let mut child = user.spawn(&arguments);
        drop(child.stderr.take());
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"no mask").unwrap();
        drop(input);
        assert_eq!(child.wait().unwrap().code(), Some(1));
    }
}

#[test]
fn help_fits_on_a_screen() {
    let user = User::new();
    for command in [
        "",
        "answer",
        "bench",
        "classify",
        "completions",
        "convert",
        "embed",
        "eval",
        "fill",
        "info",
        "list",
        "man",
        "score",
        "similar",
        "tag",
        "verify",
        "version",
    ] {
        let arguments: Vec<&str> = [command, "-h"]
            .into_iter()
            .filter(|a| !a.is_empty())
            .collect();
        let ran = user.rq(&arguments);
        let lines: Vec<&str> = ran.succeeds().lines().collect();
        assert!(lines.len() <= 30, "{} lines: {ran:?}", lines.len());
        for line in lines {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
    assert_eq!(user.rq(&[]).succeeds(), user.rq(&["--help"]).succeeds());
    let version = format!("rq {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(user.rq(&["--version"]).succeeds(), version);
    assert_eq!(user.rq(&["version"]).succeeds(), version);
    assert_eq!(
        user.rq(&["help"]).succeeds(),
        user.rq(&["--help"]).succeeds()
    );
    assert_eq!(
        user.rq(&["help", "fill"]).succeeds(),
        user.rq(&["fill", "--help"]).succeeds()
    );
}

#[test]
fn eval_compares_a_file_with_its_checkpoint() {
    let user = User::new();
    let text = user.at("text.txt");
    let sequence = "QVQLVQSGVEVKKPGASVKVSCKASGYTFTNYYMYWVRQAPGQGLEWMGGINPSNGGTNFNEKFKNRVTLTTDSSTTTAYMELKSLQFDDTAVYYCARRDYRFDMGFDYWGQGTTVTVSS";
    fs::write(&text, [sequence; 17].join("\n")).unwrap();
    let (file, source) = (user.at("vh.rq"), data("sapiens-vh"));
    let convert = [
        "convert",
        &source,
        "-o",
        &file,
        "--quant",
        "q4",
        &format!("--calibrate={text}"),
    ];
    let said = user.rq(&convert);
    let said = said.succeeds();
    assert!(
        said.contains("calibrated on 1952 tokens of the text.txt"),
        "{said}"
    );
    assert!(
        said.contains("compared with the checkpoint: the same best token for")
            && said.contains("on 122 tokens of the text.txt, which no calibration sees"),
        "{said}"
    );

    let eval = ["eval", &file, "--against", &source, "--text", &text];
    let table = user.rq(&eval);
    let table = table.succeeds();
    assert!(table.contains("same best token"), "{table}");
    let json = user.rq(&[&eval[..], &["--json"]].concat());
    let json: Value = serde_json::from_str(json.succeeds()).unwrap();
    for key in [
        "top1_agreement",
        "top5_agreement",
        "kl",
        "hidden_cosine_mean",
        "hidden_cosine_min",
    ] {
        assert!(
            json[key].as_f64().is_some_and(|x| (0.0..=1.0).contains(&x)),
            "{key}: {json}"
        );
    }
    assert!(json["top1_agreement"].as_f64().unwrap() < 1.0 || json["kl"].as_f64().unwrap() > 0.0);
    user.rq(&[&eval[..], &["--min-agreement", "0"]].concat())
        .succeeds();
    user.rq(&[&eval[..], &["--min-agreement", "2"]].concat())
        .fails(&["'2'", "a number from 0 to 1"]);
    user.rq(&["eval", &file, "--against", &data("demo-model")])
        .fails(&["another shape"]);

    let missed = user.rq(&[&eval[..], &["--min-agreement", "1"]].concat());
    assert_eq!(missed.code, Some(1), "{missed:?}");
    assert!(missed.stderr.contains("less than 1"), "{missed:?}");
    assert!(missed.stdout.contains("same best token"), "{missed:?}");
}

#[test]
fn a_conversion_says_that_it_isnt_calibrated() {
    let user = User::new();
    let source = data("sapiens-vh");
    let ran = user.rq(&["convert", &source, "--quant", "q4m"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.starts_with("rq: not calibrated: "), "{ran:?}");
    for quant in ["q8", "q4"] {
        user.rq(&["convert", &source, "--quant", quant, "--calibrate=no-file"])
            .fails(&["can't read the calibration text no-file"]);
    }
}

/// Escapes that would set a terminal's title and colour, go back over a line, or turn a text around.
const HOSTILE: &str = "x\u{1b}]0;owned\u{7}\u{1b}[31m\r\u{9b}1A\u{202e}\nfile  trusted.rq (sound)";

/// A directory's name, a text, a question, tokens and labels are others' words: none of them is obeyed by a terminal, and none
/// makes a line of its own.
#[test]
fn what_others_wrote_is_shown_and_not_obeyed() {
    let harmless = |ran: &Ran| {
        let said = format!("{}{}", ran.stdout, ran.stderr);
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!said.contains(obeyed), "{said:?}");
        assert!(!said.contains("\nfile  trusted"), "{said}");
    };
    let user = User::with_model().set("RQ_MODEL", "sapiens-vh");
    for command in ["fill", "score", "embed"] {
        for format in [&[][..], &["--json"], &["--jsonl"]] {
            let text = format!("{HOSTILE} <mask>");
            harmless(&user.rq(&[&[command], format, &[&*text]].concat()));
            let line = serde_json::json!({ "text": text }).to_string();
            harmless(&user.rq_with(&[&[command, "--jsonl"], format].concat(), line.as_bytes()));
        }
    }
    harmless(&user.rq(&["fill", "--json", "\u{9b}31m"]));
    harmless(&user.rq(&["similar", HOSTILE, "b"]));
    harmless(&user.rq(&["fill", "-m", HOSTILE, "a"]));
    harmless(&user.rq(&["fill", "-f", HOSTILE]));
    harmless(&user.rq(&["convert", HOSTILE]));

    // What a checkpoint and the file that is made of it say of themselves.
    let copy = user.copy("sapiens-vh", "copy");
    let path = copy.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["hidden_act"] = HOSTILE.into();
    fs::write(&path, config.to_string()).unwrap();
    harmless(&user.rq(&["convert", copy.to_str().unwrap()]));
    let named = HOSTILE.replace('\n', " ");
    user.copy("sapiens-vh", &named);
    let file = user.at("named.rq");
    let ran = user.rq(&["convert", &user.at(&named), "-o", &file]);
    harmless(&ran);
    for command in [
        &["info", &file][..],
        &["info", "--json", &file],
        &["verify", &file],
    ] {
        harmless(&user.rq(command));
    }
}
