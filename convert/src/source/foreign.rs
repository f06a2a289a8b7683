//! Weights in forms that rq doesn't read: told by the names of their files, with the way from each to one that it does.

use super::files::ANY_WEIGHTS;
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// Weights in a form that rq doesn't read, and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignWeights {
    /// The directory, or the repository.
    place: String,
    is_repository: bool,
    file: String,
    form: Form,
    /// The class of transformers that reads the model with its head, if that is known.
    class: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Of PEFT, to be added to another model's weights.
    Adapter,
    TensorFlow,
    Flax,
    /// What other software makes of a checkpoint, and who it is.
    Made(&'static str),
    /// rq's own file.
    Converted,
    /// Shards without their index.
    Shards,
    /// Weights under a name that transformers doesn't look for.
    Renamed,
}

/// What the names of files end with, and their form. The first row that has a file counts.
const FORMS: [(&str, Form); 17] = [
    ("adapter_config.json", Form::Adapter),
    ("adapter_model.safetensors", Form::Adapter),
    ("adapter_model.bin", Form::Adapter),
    ("tf_model.h5", Form::TensorFlow),
    ("tf_model.h5.index.json", Form::TensorFlow),
    ("flax_model.msgpack", Form::Flax),
    ("flax_model.msgpack.index.json", Form::Flax),
    (".gguf", Form::Made("llama.cpp's GGUF")),
    (".onnx", Form::Made("ONNX")),
    ("openvino_model.xml", Form::Made("OpenVINO")),
    (".mlpackage", Form::Made("Core ML")),
    (".mlmodel", Form::Made("Core ML")),
    (".tflite", Form::Made("TensorFlow Lite")),
    ("saved_model.pb", Form::Made("TensorFlow's SavedModel")),
    (".ot", Form::Made("rust-bert")),
    (".rq", Form::Converted),
    (".safetensors", Form::Renamed),
];

/// The folders in which publishers put what they make of a checkpoint.
const FOLDERS: [&str; 4] = ["onnx", "openvino", "coreml", "saved_model"];

impl ForeignWeights {
    /// Those in a directory: an adapter in any case, others if there are no weights that are read.
    pub(super) fn in_directory(directory: &Path) -> Option<Self> {
        let names = |folder: &str| {
            let entries = std::fs::read_dir(directory.join(folder))
                .into_iter()
                .flatten();
            let names = entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned());
            names
                .map(|name| Path::new(folder).join(name).to_string_lossy().into_owned())
                .collect::<Vec<_>>()
        };
        let mut files = names("");
        files.extend(FOLDERS.into_iter().flat_map(names));
        let read = |file: &str| {
            let json = std::fs::read(directory.join(file)).unwrap_or_default();
            serde_json::from_slice::<Value>(&json).unwrap_or_default()
        };
        let task = &read("adapter_config.json")["task_type"];
        let class = head_of_task(task).or_else(|| head(&read("config.json")));
        let place = directory.display().to_string();
        Self::among(&files, place, false, class)
    }

    /// Those of a repository with these files, whose configuration the hub gives in short.
    #[cfg(feature = "hub")]
    pub(super) fn in_repository(
        repository: &str,
        files: &[String],
        config: &Value,
    ) -> Option<Self> {
        Self::among(files, repository.to_owned(), true, head(config))
    }

    fn among(
        files: &[String],
        place: String,
        is_repository: bool,
        class: Option<String>,
    ) -> Option<Self> {
        let is_read = |file: &String| ANY_WEIGHTS.contains(&file.as_str());
        let read = files.iter().any(is_read);
        let of = |(ending, form): (&str, Form)| {
            // What is deeper belongs to something else, such as an earlier state of training.
            let here = |file: &&String| match file.split_once('/') {
                Some((folder, _)) => FOLDERS.contains(&folder) || folder.ends_with(ending),
                None => true,
            };
            let named = |file: &&String| {
                let whole = file.split('/').find(|part| part.ends_with(ending));
                // An ending that is no extension is a whole name.
                whole.is_some_and(|part| ending.starts_with('.') || part == ending)
            };
            let file = files.iter().filter(here).find(named)?.clone();
            let form = match form {
                Form::Renamed if file.contains("-of-") => Form::Shards,
                form => form,
            };
            Some((file, form))
        };
        let (file, form) = FORMS.into_iter().find_map(of)?;
        (!read || form == Form::Adapter).then_some(Self {
            place,
            is_repository,
            file,
            form,
            class,
        })
    }

    /// What a single file is, if it is no file of a checkpoint.
    pub(super) fn file(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let place = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let place = place.unwrap_or(Path::new("."));
        let found = Self::among(&[name], place.display().to_string(), false, None)?;
        (found.form != Form::Renamed).then(|| {
            Self::in_directory(place)
                .filter(|all| all.form == found.form)
                .unwrap_or(found)
        })
    }
}

/// The head of a configuration's first architecture, in the name of a class of transformers.
fn head(config: &Value) -> Option<String> {
    let name = config["architectures"][0].as_str()?;
    name.bytes()
        .all(|b| b.is_ascii_alphanumeric())
        .then(|| match name.find("For") {
            Some(at) => name[at..].to_owned(),
            None if name.ends_with("LMHeadModel") => "ForMaskedLM".to_owned(),
            None => String::new(),
        })
}

/// The head of PEFT's task.
fn head_of_task(task: &Value) -> Option<String> {
    let head = match task.as_str()? {
        "SEQ_CLS" => "ForSequenceClassification",
        "TOKEN_CLS" => "ForTokenClassification",
        "QUESTION_ANS" => "ForQuestionAnswering",
        "FEATURE_EXTRACTION" => "ForFeatureExtraction",
        _ => return None,
    };
    Some(head.to_owned())
}

impl fmt::Display for ForeignWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, file, .. } = self;
        match self.is_repository {
            true => write!(f, "the model `{place}`")?,
            false => f.write_str(place)?,
        }
        // What isn't known is for the reader to fill in.
        let class = match &self.class {
            Some(head) => format!("AutoModel{head}"),
            None => "AutoModelFor...".to_owned(),
        };
        let save = |class: &str, with: &str, merged: &str| {
            format!(
                "`{class}.from_pretrained({place:?}{with}){merged}.save_pretrained(\"NEW\")` and \
                 `AutoTokenizer.from_pretrained({place:?}).save_pretrained(\"NEW\")`"
            )
        };
        let unread = format!("has its weights in {file}");
        match self.form {
            Form::Adapter => {
                let class = class.replace("AutoModel", "AutoPeftModel");
                let save = save(&class, "", ".merge_and_unload()");
                write!(
                    f,
                    " has an adapter for the weights of another model ({file}); merge it first, with PEFT: {save}"
                )
            }
            Form::TensorFlow | Form::Flax => {
                let (of, with) = match self.form {
                    Form::Flax => ("Flax", ", from_flax=True"),
                    _ => ("TensorFlow", ", from_tf=True"),
                };
                let save = save(&class, with, "");
                write!(
                    f,
                    " {unread}, of {of}, which rq doesn't read; save them as model.safetensors first, with transformers 4: {save}"
                )
            }
            Form::Converted => write!(
                f,
                " {unread}, which is converted already; to convert again, give the checkpoint that it was made from"
            ),
            Form::Made(by) => write!(
                f,
                " {unread}, of {by}, which rq doesn't read; give the checkpoint that it was made from, with model.safetensors or pytorch_model.bin"
            ),
            Form::Shards => write!(
                f,
                " has shards such as {file}, and no index of them; download model.safetensors.index.json, too"
            ),
            Form::Renamed => {
                let save = save(&class, "", "");
                write!(
                    f,
                    " {unread}, and rq reads model.safetensors or pytorch_model.bin; rename it, or save the model anew: {save}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(files: &[&str], config: &Value) -> Option<String> {
        let files: Vec<String> = files.iter().map(|&file| file.to_owned()).collect();
        let found = ForeignWeights::among(&files, "a/b".into(), true, head(config))?;
        Some(found.to_string())
    }

    #[test]
    fn each_form_is_named_with_the_way_out() {
        let config = json!({ "architectures": ["BertForTokenClassification"] });
        for (files, parts) in [
            (
                &["tf_model.h5", "vocab.txt"][..],
                ["AutoModelForTokenClassification", "from_tf=True"],
            ),
            (
                &["flax_model.msgpack"],
                ["AutoTokenizer.from_pretrained(\"a/b\")", "from_flax=True"],
            ),
            (
                &["model.Q4_K.gguf", "config.json"],
                ["model.Q4_K.gguf", "GGUF"],
            ),
            (
                &["onnx/model.onnx", "config.json"],
                ["onnx/model.onnx", "of ONNX"],
            ),
            (
                &["openvino/openvino_model.xml"],
                ["OpenVINO", "the checkpoint that it was made from"],
            ),
            (
                &["float32_model.mlpackage/Data/x"],
                ["Core ML", "mlpackage"],
            ),
            (&["rust_model.ot"], ["rust_model.ot", "rust-bert"]),
            (&["model.rq"], ["model.rq", "converted already"]),
            (
                &["model.fp16.safetensors"],
                ["model.fp16.safetensors", "rename it"],
            ),
            (
                &["model-00001-of-00009.safetensors"],
                ["no index", "model.safetensors.index.json"],
            ),
            (
                &["adapter_model.safetensors", "model.safetensors"],
                ["AutoPeftModelForTokenClassification", "merge_and_unload"],
            ),
        ] {
            let said = said(files, &config).unwrap();
            assert!(said.starts_with("the model `a/b` has "), "{said}");
            assert!(
                parts.iter().all(|part| said.contains(part)),
                "{parts:?} in {said}"
            );
        }
        for files in [
            &["model.safetensors", "tf_model.h5", "onnx/model.onnx"][..],
            &["checkpoint-500/adapter_config.json", "pytorch_model.bin"],
            &["training_args.bin", "README.md"],
        ] {
            assert_eq!(said(files, &config), None, "{files:?}");
        }
    }

    #[test]
    fn the_class_is_that_of_the_head() {
        for (architecture, class) in [
            (
                json!("RobertaForSequenceClassification"),
                "AutoModelForSequenceClassification.",
            ),
            (json!("RobertaModel"), "AutoModel."),
            (json!("BertLMHeadModel"), "AutoModelForMaskedLM."),
            (json!("Bert`For"), "AutoModelFor...."),
            (json!(null), "AutoModelFor...."),
        ] {
            let config = json!({ "architectures": [architecture] });
            let said = said(&["tf_model.h5"], &config).unwrap();
            assert!(said.contains(&format!("`{class}from_pretrained")), "{said}");
        }
    }
}
