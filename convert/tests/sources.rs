//! Finding a model: directories, the Hugging Face cache, and what isn't there.

use crate::common;
use crate::common::{assert_error, write};
use rq_convert::{HubCache, Source};
use std::fs;
use std::path::{Path, PathBuf};

/// A cache with snapshots of repositories: each a repository, a commit and the files of the snapshot.
fn cache(snapshots: &[(&str, &str, &[&str])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (repository, commit, files) in snapshots {
        let repository = directory
            .path()
            .join(format!("models--{}", repository.replace('/', "--")));
        let snapshot = repository.join("snapshots").join(commit);
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(repository.join("refs")).unwrap();
        write(&repository, "refs/main", commit);
        for file in *files {
            write(&snapshot, file, "");
        }
    }
    directory
}

const WHOLE: &[&str] = &["config.json", "model.safetensors"];

fn find(name: &str, cache: &Path) -> Result<Source, rq_convert::ConvertError> {
    Ok(Source::find(name, &HubCache::at(cache))?)
}

#[test]
fn a_directory_is_found_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let model = directory.path().join("my-model");
    fs::create_dir(&model).unwrap();
    write(&model, "config.json", "{}");
    write(&model, "model.safetensors.index.json", "{}");
    let source = common::find(&model).unwrap();
    assert_eq!((source.name(), source.revision()), ("my-model", None));
    assert_eq!(source.directory(), model);
}

#[test]
fn a_name_is_found_in_the_cache() {
    let cache = cache(&[("someone/some.model", "abc123", WHOLE)]);
    let source = find("someone/some.model", cache.path()).unwrap();
    assert_eq!(
        (source.name(), source.revision()),
        ("someone/some.model", Some("abc123"))
    );
    let snapshot = cache
        .path()
        .join("models--someone--some.model/snapshots/abc123");
    assert_eq!(source.directory(), snapshot);
    // The same as a directory: it knows where it came from.
    let again = find(snapshot.to_str().unwrap(), cache.path()).unwrap();
    assert_eq!(
        (again.name(), again.revision()),
        (source.name(), source.revision())
    );
}

#[test]
fn short_names_mean_their_repositories() {
    for (short, full) in [
        ("roberta-base", "FacebookAI/roberta-base"),
        ("roberta-large", "FacebookAI/roberta-large"),
        ("distilroberta-base", "distilbert/distilroberta-base"),
    ] {
        let only_full = cache(&[(full, "c0ffee", WHOLE)]);
        assert_eq!(find(short, only_full.path()).unwrap().name(), full);
        let both = cache(&[(full, "c0ffee", WHOLE), (short, "beef", WHOLE)]);
        assert_eq!(find(short, both.path()).unwrap().name(), short);
        // A snapshot with only a tokenizer doesn't hide a whole one.
        let partial = cache(&[(full, "c0ffee", WHOLE), (short, "beef", &["config.json"])]);
        assert_eq!(find(short, partial.path()).unwrap().name(), full);
    }
}

#[test]
fn a_snapshot_without_main_is_found_if_it_is_the_only_one() {
    let cache = cache(&[("a/b", "abc", WHOLE)]);
    fs::remove_file(cache.path().join("models--a--b/refs/main")).unwrap();
    assert_eq!(find("a/b", cache.path()).unwrap().revision(), Some("abc"));
    fs::create_dir(cache.path().join("models--a--b/snapshots/def")).unwrap();
    assert!(find("a/b", cache.path()).is_err());
}

#[test]
fn a_reference_that_leads_out_of_the_cache_is_not_followed() {
    let cache = cache(&[("a/b", "abc", WHOLE)]);
    let elsewhere = cache.path().join("models--a--b");
    for file in WHOLE {
        write(&elsewhere, file, "");
    }
    write(&elsewhere, "refs/main", "..");
    assert!(find("a/b", cache.path()).is_err());
}

#[test]
fn what_is_not_in_the_cache_says_what_was_looked_for_and_what_to_do() {
    let cache = cache(&[]);
    assert_error(
        find("roberta-large", cache.path()),
        cache.path(),
        "there is no directory `roberta-large`, and the Hugging Face cache DIR holds no models--roberta-large or \
         models--FacebookAI--roberta-large; download it with `hf download FacebookAI/roberta-large` (older: \
         `huggingface-cli download`), or give the path of a directory",
    );
    assert_error(
        find("someone/model", cache.path()),
        cache.path(),
        "there is no directory `someone/model`, and the Hugging Face cache DIR holds no models--someone--model; \
         download it with `hf download someone/model` (older: `huggingface-cli download`), or give the path of a \
         directory",
    );
    assert_error(
        Source::find("roberta-large", &HubCache::default()),
        cache.path(),
        "there is no directory `roberta-large`, and no Hugging Face cache to look in, since neither HF_HUB_CACHE, \
         HF_HOME nor HOME is set; give the path of a directory",
    );
}

#[test]
fn paths_that_are_no_model_each_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let at = |file: &str| -> PathBuf { dir.join(file) };
    assert_error(
        common::find(&at("nowhere")),
        dir,
        "there is no directory DIR/nowhere; give a directory with a model, or a name of the Hugging Face hub such as \
         `roberta-large`",
    );
    write(dir, "model.safetensors", "");
    assert_error(
        common::find(&at("model.safetensors")),
        dir,
        "DIR/model.safetensors is a file; give the directory that holds the model's config.json and weights",
    );
    write(dir, "config.json", "{}");
    assert_error(
        common::find(&at("model.safetensors")),
        dir,
        "DIR/model.safetensors is a file; give the directory that holds the model's config.json and weights: DIR",
    );
    fs::remove_file(at("config.json")).unwrap();
    assert_error(
        common::find(dir),
        dir,
        "DIR has no config.json; give the directory that `save_pretrained` or `hf download` made",
    );
    fs::remove_file(at("model.safetensors")).unwrap();
    write(dir, "config.json", "{}");
    assert_error(
        common::find(dir),
        dir,
        "DIR has no weights: neither model.safetensors nor pytorch_model.bin, nor an index of either's shards; \
         download them, or save the model there with `save_pretrained`",
    );
    write(dir, "tf_model.h5", "");
    assert_error(
        common::find(dir),
        dir,
        "DIR has its weights in tf_model.h5, of TensorFlow, which rq doesn't read; save them as model.safetensors first, \
         with transformers 4: `AutoModelFor....from_pretrained(\"DIR\", from_tf=True).save_pretrained(\"NEW\")` and \
         `AutoTokenizer.from_pretrained(\"DIR\").save_pretrained(\"NEW\")`",
    );
    for file in ["pytorch_model.bin.index.json", "pytorch_model.bin"] {
        write(dir, file, "");
        assert!(common::find(dir).is_ok());
        fs::remove_file(at(file)).unwrap();
    }
}

#[test]
fn directories_of_other_software_are_named() {
    let config = r#"{"architectures": ["RobertaForSequenceClassification"]}"#;
    for (file, parts) in [
        (
            "tf_model.h5",
            ["AutoModelForSequenceClassification.from", "from_tf=True"],
        ),
        ("flax_model.msgpack", ["from_flax=True", "AutoTokenizer"]),
        ("model.onnx", ["of ONNX", "made from"]),
        ("onnx/model_quantized.onnx", ["of ONNX", "made from"]),
        ("openvino/openvino_model.xml", ["OpenVINO", "made from"]),
        (
            "coreml/model.mlpackage/Manifest.json",
            ["Core ML", "made from"],
        ),
        ("rust_model.ot", ["rust-bert", "made from"]),
        ("roberta-q8_0.gguf", ["GGUF", "made from"]),
        ("model.rq", ["converted already", "made from"]),
        (
            "model-00001-of-00002.safetensors",
            ["no index", "model.safetensors.index.json"],
        ),
        ("model.fp16.safetensors", ["rename it", "AutoTokenizer"]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        // With a configuration, as most have one, and without.
        for class in [false, true] {
            if class {
                write(directory.path(), "config.json", config);
            }
            let error = common::find(directory.path()).unwrap_err().to_string();
            let all = parts
                .iter()
                .all(|part| error.contains(part) || (!class && part.starts_with("AutoModel")));
            assert!(all && error.contains(" has "), "{parts:?} in {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        if file.ends_with(".safetensors") || file.contains("coreml") {
            continue;
        }
        let error = common::find(&path).unwrap_err().to_string();
        assert!(error.contains(parts[1]), "{parts:?} in {error}");
    }
}

#[test]
fn an_adapter_is_never_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    let error = |config: &str| {
        write(dir, "adapter_config.json", config);
        common::find(dir).unwrap_err().to_string()
    };
    for (config, class) in [
        (
            r#"{"task_type": "TOKEN_CLS"}"#,
            "AutoPeftModelForTokenClassification",
        ),
        (r#"{"task_type": null}"#, "AutoPeftModelFor..."),
        ("", "AutoPeftModelFor..."),
    ] {
        let said = error(config);
        let merge = format!("`{class}.from_pretrained(");
        assert!(
            said.contains(&merge) && said.contains(").merge_and_unload()"),
            "{said}"
        );
    }
    for file in WHOLE {
        write(dir, file, "{}");
    }
    assert!(error("{}").contains("has an adapter for the weights of another model"));
}
