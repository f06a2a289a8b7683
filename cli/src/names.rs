//! Names of converted models, as people write them.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The extension of a converted model's file.
pub(crate) const EXTENSION: &str = "rq";
/// What stands for the slash of `org/name` in the name of a file.
const SLASH: &str = "--";
/// How alike two names are at least for one to be suggested for the other, from 0 to 1.
const ALIKE: f64 = 0.75;

/// A model in the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Converted {
    /// Its name: `name` or `org/name`.
    pub(crate) name: String,
    /// Its file.
    pub(crate) path: PathBuf,
}

/// The name of the file for a model: that of `org/name` is `org--name.rq`.
pub(crate) fn file_name(name: &str) -> String {
    let stem = name.replace(['/', '\\'], SLASH);
    format!("{stem}.{EXTENSION}")
}

/// The models in a directory, by name. There are none in one that doesn't exist.
pub(crate) fn converted(directory: &Path) -> Result<Vec<Converted>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("can't read {}", directory.display()))?,
    };
    let model = |path: PathBuf| {
        let stem = path.file_stem()?.to_str()?.to_owned();
        let named = path.extension() == Some(OsStr::new(EXTENSION)) && !stem.starts_with('.');
        (named && path.is_file()).then(|| Converted {
            name: stem.replacen(SLASH, "/", 1),
            path,
        })
    };
    let mut models: Vec<Converted> = entries
        .flatten()
        .filter_map(|entry| model(entry.path()))
        .collect();
    models.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(models)
}

/// The model that a name stands for: in upper or lower case, with or without the organization and the ending `.rq`.
///
/// # Errors
/// When it stands for several.
pub(crate) fn find<'m>(name: &str, models: &'m [Converted]) -> Result<Option<&'m Converted>> {
    let wanted = plain(name);
    let whole = |model: &&Converted| plain(&model.name) == wanted;
    let last = |model: &&Converted| {
        let name = plain(&model.name);
        name.rsplit_once('/')
            .is_some_and(|(_, name)| name == wanted)
    };
    for found in [
        models.iter().filter(whole).collect::<Vec<_>>(),
        models.iter().filter(last).collect(),
    ] {
        match found[..] {
            [] => {}
            [model] => return Ok(Some(model)),
            _ => {
                let names: Vec<&str> = found.iter().map(|model| &*model.name).collect();
                bail!(
                    "{name:?} may be {}: give the whole name",
                    names.join(" or ")
                );
            }
        }
    }
    Ok(None)
}

/// The name that is most like a wrong one, if one is alike.
pub(crate) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = plain(name);
    let wanted = wanted.rsplit('/').next().unwrap_or_default();
    let alike = |name: &&str| {
        let name = plain(name);
        strsim::jaro_winkler(wanted, name.rsplit('/').next().unwrap_or_default())
    };
    let best = names.map(|name| (alike(&name), name));
    let best = best.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(alike, _)| *alike >= ALIKE)
        .map(|(_, name)| name)
}

/// A name as names are compared.
fn plain(name: &str) -> String {
    let name = name.replace('\\', "/").replacen(SLASH, "/", 1);
    let name = name.trim_end_matches('/').to_lowercase();
    let ending = format!(".{EXTENSION}");
    name.strip_suffix(&ending).unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(names: &[&str]) -> Vec<Converted> {
        let model = |name: &&str| Converted {
            name: (*name).to_owned(),
            path: file_name(name).into(),
        };
        names.iter().map(model).collect()
    }

    #[test]
    fn names_as_people_write_them() {
        let models = models(&[
            "roberta-large",
            "sentence-transformers/all-MiniLM-L6-v2",
            "a/b",
            "c/b",
        ]);
        let found = |name| find(name, &models).unwrap().map(|model| &*model.name);
        for name in [
            "roberta-large",
            "RoBERTa-Large",
            "roberta-large.rq",
            "ROBERTA-LARGE.RQ",
        ] {
            assert_eq!(found(name), Some("roberta-large"), "{name}");
        }
        for name in [
            "all-minilm-l6-v2",
            "sentence-transformers/all-MiniLM-L6-v2",
            "sentence-transformers--all-MiniLM-L6-v2.rq",
            "Sentence-Transformers/All-MiniLM-L6-v2/",
        ] {
            assert_eq!(
                found(name),
                Some("sentence-transformers/all-MiniLM-L6-v2"),
                "{name}"
            );
        }
        assert_eq!(found("a/b"), Some("a/b"));
        assert_eq!(found("d/b"), None);
        assert_eq!(found(""), None);
        let several = find("b", &models).unwrap_err().to_string();
        assert_eq!(several, "\"b\" may be a/b or c/b: give the whole name");
    }

    #[test]
    fn the_nearest_name() {
        let names = ["roberta-large", "topics", "org/all-MiniLM-L6-v2"];
        let nearest = |name| nearest(name, names.into_iter());
        assert_eq!(nearest("robrta-large"), Some("roberta-large"));
        assert_eq!(nearest("topic"), Some("topics"));
        assert_eq!(nearest("all-minilm-l12"), Some("org/all-MiniLM-L6-v2"));
        assert_eq!(nearest("zzz"), None);
        assert_eq!(nearest(""), None);
    }
}
