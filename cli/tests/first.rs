//! The first minutes with rq: names of models, lists of them, what a shell and a package need, and the README's examples.

use crate::common::{User, data};
use serde_json::Value;
use std::fs;

#[test]
fn models_are_named_as_people_write_them() {
    let user = User::new();
    let convert = |to: &str| {
        let output = user.at(to);
        user.rq(&["convert", &data("sapiens-vh"), "--no-eval", "-o", &output])
            .succeeds();
    };
    fs::create_dir(user.path("data")).unwrap();
    convert("data/Sapiens-VH.rq");
    convert("data/antibodies--Heavy-Chain.rq");
    convert("beside.rq");
    let fill = |name: &str| user.rq(&["fill", "-m", name, "EVQL<mask>ESGG"]);
    let expected = fill("Sapiens-VH").succeeds().to_owned();
    for name in [
        "sapiens-vh",
        "SAPIENS-VH.rq",
        "antibodies/heavy-chain",
        "heavy-chain",
        "antibodies--Heavy-Chain.rq",
        "beside",
        "./beside.rq",
        &user.at("data/Sapiens-VH.rq"),
    ] {
        assert_eq!(fill(name).succeeds(), expected, "{name}");
    }
    fill("sapien-vh").fails(&["no model", "did you mean \"Sapiens-VH\"?", "`rq list`"]);
    fill("hevy-chain").fails(&["did you mean \"antibodies/Heavy-Chain\"?"]);
    fill("xyz").fails(&["no model \"xyz\"", "`rq list`", "`rq convert`"]);
    convert("data/other--heavy-chain.rq");
    fill("heavy-chain").fails(&["antibodies/Heavy-Chain or other/heavy-chain"]);
}

#[test]
fn models_are_listed() {
    let user = User::with_model();
    fs::write(user.path("data/broken.rq"), "what was a model").unwrap();
    fs::write(user.path("data/.rq-a1B2c3.tmp"), "").unwrap();
    let json = user.rq(&["list", "--json"]);
    let listed: Vec<Value> = serde_json::from_str(json.succeeds()).unwrap();
    let names: Vec<&str> = listed.iter().map(|m| m["name"].as_str().unwrap()).collect();
    let all = ["broken", "sapiens-vh", "demo"];
    let count = if cfg!(feature = "demo-model") { 3 } else { 2 };
    assert_eq!(names, all[..count]);
    let error = listed[0]["error"].as_str().unwrap();
    assert!(error.contains("not an rq model"), "{error}");
    let file = user.path("data/sapiens-vh.rq");
    assert_eq!(listed[1]["file"], file.to_str().unwrap());
    assert_eq!(listed[1]["bytes"], fs::metadata(file).unwrap().len());
    for (key, value) in [
        ("command", "fill"),
        ("architecture", "roberta"),
        ("head", "masked_lm"),
        ("quantization", "q8"),
    ] {
        assert_eq!(listed[1][key], value);
    }
    #[cfg(feature = "demo-model")]
    assert_eq!(
        (&listed[2]["default"], &listed[2]["file"]),
        (&true.into(), &Value::Null)
    );

    let named = user.set("RQ_MODEL", "Sapiens-VH");
    let table = named.rq(&["list"]);
    let rows: Vec<&str> = table.succeeds().lines().collect();
    assert!(
        rows[0].starts_with("  model       command  quant"),
        "{table:?}"
    );
    assert!(rows[1].starts_with("  broken ") && rows[1].contains("not an rq model"));
    assert_eq!(rows[2], "* sapiens-vh  fill     q8      663.6 kB");
    // The one that is part of rq can be asked for all the same.
    #[cfg(feature = "demo-model")]
    {
        assert!(
            rows[3].starts_with("  demo        fill     q8 "),
            "{table:?}"
        );
        let text = "She opened the <mask> and walked into the garden.";
        let ran = named.rq(&["fill", "-m", "demo", "-k1", text]);
        assert!(ran.succeeds().contains("door"), "{ran:?}");
        named
            .rq(&["verify", "demo"])
            .fails(&["has no file of its own"]);
    }
    let lost = User::new().set("RQ_MODEL", "nowhere");
    lost.rq(&["list"])
        .ends_with_error(&["RQ_MODEL=nowhere", "no model"]);
}

#[test]
fn several_models_are_converted() {
    let user = User::new();
    let (one, two) = (data("sapiens-vh"), data("tasks/topics"));
    let ran = user.rq(&["convert", &one, &format!("{two}/"), "--no-eval"]);
    let blocks = ran.succeeds().split("\n\n");
    let files: Vec<&str> = blocks
        .map(|block| block.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        files,
        [user.at("data/sapiens-vh.rq"), user.at("data/topics.rq")]
    );
    user.rq(&["convert", &one, &two, "-o", "a.rq"])
        .fails(&["--output", "one model"]);
    let same = user.copy("tasks/topics", "sapiens-vh");
    user.rq(&["convert", &one, same.to_str().unwrap(), "--no-eval"])
        .ends_with_error(&["have the same name, sapiens-vh"]);
}

#[test]
fn a_package_has_pages_and_completions() {
    let user = User::new();
    for (shell, part) in [
        ("bash", "complete -F _rq"),
        ("zsh", "#compdef rq"),
        ("fish", "complete -c rq"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let ran = user.rq(&["completions", shell]);
        let script = ran.succeeds();
        assert!(
            script.contains(part) && script.contains("whole-targets"),
            "{shell}"
        );
    }
    user.rq(&["completions", "tcsh"]).fails(&["'tcsh'", "bash"]);
    let ran = user.rq(&["man", "--out", "man"]);
    let said = "rq: man pages are in man\n";
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), said));
    let page = |name: &str| fs::read_to_string(user.path("man").join(name)).unwrap();
    assert!(page("rq.1").contains(r"rq\-fill(1)"), "{}", page("rq.1"));
    assert!(page("rq-fill.1").contains(r"whole\-targets"));
    assert!(!user.path("man/rq-man.1").exists());
}

/// The examples of the README's section on tasks run as they stand, with the test models that the first one converts.
#[cfg(all(unix, feature = "demo-model"))]
#[test]
fn the_readmes_examples_run() {
    use crate::common::tests_path;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    let user = User::new();
    let root = tests_path("..");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let section = readme.split("\n## Tasks\n").nth(1).unwrap();
    let examples = section.split("```").nth(1).unwrap();
    let examples = examples.strip_prefix("sh\n").unwrap();
    assert!(examples.lines().count() > 20, "{examples}");
    for folder in ["tests", "examples"] {
        symlink(root.join(folder), user.path(folder)).unwrap();
    }
    fs::create_dir(user.path("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_rq"), user.path("bin/rq")).unwrap();
    let path = format!("{}:{}", user.at("bin"), std::env::var("PATH").unwrap());
    let ran = Command::new("sh")
        .args(["-e", "-c", examples])
        .current_dir(&user.home)
        .env("PATH", path)
        .env("RQ_DATA_DIR", user.path("data"))
        .env_remove("RQ_MODEL")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    // What they say there is of the embedded model, and what was written into a pipe.
    for line in said.lines() {
        let known = line.contains("the small embedded English model") || line.contains("float32");
        assert!(known, "{line}");
    }
    for file in [
        "surprisal.svg",
        "heat.svg",
        "embeddings.npy",
        "sparse.npz",
        "embeddings.npy.gz",
    ] {
        assert!(fs::metadata(user.path(file)).unwrap().len() > 100, "{file}");
    }
}

/// The examples at the end of the commands' help run as they stand, where their names mean test models. But for `rq bench`, which
/// would take minutes.
#[cfg(all(unix, feature = "demo-model"))]
#[test]
fn the_examples_of_the_help_run() {
    use crate::common::tests_path;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    let user = User::new();
    let texts = tests_path("../examples/texts");
    let link = |from: std::path::PathBuf, to: &str| {
        let to = user.path(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        symlink(from, to).unwrap();
    };
    for (task, model) in [
        ("tags", "names"),
        ("answers", "NAME"),
        ("nli", "nli"),
        ("relevance", "reranker"),
        ("topics", "topics"),
        ("topics", "my"),
    ] {
        let directory = user.copy(&format!("tasks/{task}"), model);
        // So that its words have the tokens that they have in a text.
        let settings = directory.join("tokenizer_config.json");
        let json = fs::read_to_string(&settings).unwrap();
        let json = json.replace("\"add_prefix_space\": false", "\"add_prefix_space\": true");
        fs::write(settings, json).unwrap();
        let model = directory.to_str().unwrap();
        user.rq(&["convert", model, "--no-eval"]).succeeds();
    }
    fs::copy(user.path("data/my.rq"), user.path("my.rq")).unwrap();
    let demo = tests_path("../src/demo-model.rq");
    link(demo, "data/all-MiniLM-L6-v2.rq");
    crate::sparse::checkpoint("bert", &user.path("splade-v3"));
    user.rq(&["convert", "splade-v3"]).succeeds();
    link(tests_path("data/tasks"), "models");
    for name in ["my-roberta", "my-model", "roberta-large"] {
        user.copy("tasks/topics", name);
    }
    let lines = ["report.txt", "texts.txt", "titles.txt", "my-texts.txt"];
    for name in lines {
        link(texts.join("report.txt"), name);
    }
    link(texts.join("pairs.jsonl"), "minimal-pairs.jsonl");
    link(texts.join("passages.txt"), "passages.txt");
    let line = "{\"text\": \"A <mask> barked.\", \"question\": \"Who barked?\", \"context\": \"A dog barked.\"}\n";
    for name in ["texts.jsonl", "questions.jsonl"] {
        fs::write(user.path(name), line).unwrap();
    }
    fs::create_dir(user.path("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_rq"), user.path("bin/rq")).unwrap();
    let path = format!("{}:{}", user.at("bin"), std::env::var("PATH").unwrap());

    let mut count = 0;
    // A model called roberta-large would be the one that is taken where none is named, so that is converted late.
    for command in [
        "fill", "score", "embed", "similar", "tag", "answer", "classify", "convert", "eval",
    ] {
        let help = user.rq(&["help", command]);
        let examples = help
            .succeeds()
            .split("Examples:\n")
            .nth(1)
            .unwrap_or_default();
        for example in examples
            .lines()
            .map(str::trim)
            .filter(|e| e.starts_with("rq "))
        {
            let ran = Command::new("sh")
                .args(["-e", "-c", example])
                .current_dir(&user.home)
                .env("PATH", &path)
                .env("RQ_DATA_DIR", user.path("data"))
                .env("HF_HUB_OFFLINE", "1")
                .env_remove("RQ_MODEL")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "{example}: {said}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}
