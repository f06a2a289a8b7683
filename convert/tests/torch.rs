//! Weights that torch.save wrote: read as those in safetensors are, and refused when anything is wrong with them.

use crate::common;
use crate::common::torch::{Entry, View, entries, file, legacy, pickle, zip};
use crate::common::{Dtype, HIDDEN, Tensors, assert_error, find, model, tensors, write};
use rq_convert::{
    Calibrate, Checkpoint, ConvertError, ConvertOptions, HfConfig, NoProgress, Quant,
    convert_source,
};
use rq_format::ModelFile;
use serde_json::json;
use std::fs;
use std::path::Path;

const WORD: &str = "roberta.embeddings.word_embeddings.weight";
/// What torch 2.15 wrote; see `data/torch_file.py`.
const TORCH_FILE: &[u8] = include_bytes!("data/pytorch_model.bin");
/// The same in the format from before torch 1.6.
const LEGACY_FILE: &[u8] = include_bytes!("data/pytorch_model_legacy.bin");

fn open(directory: &Path) -> Result<Checkpoint, ConvertError> {
    Ok(Checkpoint::open(
        &find(directory)?,
        &HfConfig::read(directory)?,
    )?)
}

/// The small model in one file of torch's.
fn torch_model(file: &[u8]) -> tempfile::TempDir {
    let directory = model(&Tensors::new());
    fs::remove_file(directory.path().join("model.safetensors")).unwrap();
    write(directory.path(), "pytorch_model.bin", file);
    directory
}

/// Checks how a file is refused: "can't read DIR/pytorch_model.bin", and why.
#[track_caller]
fn refused(file: &[u8], expected: &str) {
    let directory = torch_model(file);
    let expected = format!("can't read DIR/pytorch_model.bin: {expected}");
    assert_error(open(directory.path()), directory.path(), &expected);
}

/// As [`refused`], whatever the error says first.
#[track_caller]
fn refused_with(file: &[u8], end: &str) {
    let directory = torch_model(file);
    let error = common::chain(&open(directory.path()).unwrap_err());
    assert!(error.ends_with(end), "{error}");
}

/// The entries of a whole file.
fn whole() -> Vec<Entry> {
    entries(&tensors("roberta."), Dtype::F32)
}

/// A whole file, of which one entry is changed.
fn changed(name: &str, change: impl FnOnce(&mut Entry)) -> Vec<u8> {
    let mut entries = whole();
    change(entries.iter_mut().find(|e| e.name == name).unwrap());
    zip(&entries, false)
}

/// A file with one tensor, which is wrong.
fn with_view(view: View) -> Vec<u8> {
    let content = [0; 32];
    zip(
        &[
            Entry::new("model/data.pkl", pickle(&[("odd", view)])),
            Entry::new("model/data/0", content),
        ],
        false,
    )
}

/// A view of eight floats.
fn view(offset: i64, shape: &[i64], strides: &[i64]) -> View {
    View {
        storage_type: "FloatStorage",
        storage: "0".into(),
        storage_len: 8,
        offset,
        shape: shape.into(),
        strides: strides.into(),
    }
}

/// The file that a conversion makes, and the tensors that it left out.
fn converted(directory: &Path, quant: Quant) -> (ModelFile, Vec<String>) {
    let output = directory.join("out.rq");
    let options = ConvertOptions {
        quant,
        threads: 2,
        calibration: Calibrate::Never,
        head: None,
    };
    let summary =
        convert_source(&find(directory).unwrap(), &output, &options, &NoProgress).unwrap();
    let bytes = fs::read(&output).unwrap();
    (ModelFile::from_bytes(bytes).unwrap(), summary.ignored)
}

/// Checks that two files are the same but for where they came from.
#[track_caller]
fn assert_same(a: &ModelFile, b: &ModelFile) {
    assert_eq!(a.config(), b.config());
    assert_eq!(a.tokenizer().unwrap(), b.tokenizer().unwrap());
    assert_eq!(a.tensors().len(), b.tensors().len());
    for (x, y) in a.tensors().iter().zip(b.tensors()) {
        assert_eq!(x.name, y.name);
        assert_eq!(x.format, y.format);
        assert!(
            a.tensor_bytes(&x.name).unwrap() == b.tensor_bytes(&y.name).unwrap(),
            "{}",
            x.name
        );
    }
}

#[test]
fn a_file_of_torch_itself_converts_to_the_same_bytes() {
    converts_to_the_same_bytes(TORCH_FILE);
}

#[test]
fn a_file_from_before_1_6_converts_to_the_same_bytes() {
    converts_to_the_same_bytes(LEGACY_FILE);
}

#[track_caller]
fn converts_to_the_same_bytes(file: &[u8]) {
    let torch = torch_model(file);
    let safetensors = model(&tensors("roberta."));
    for quant in Quant::ALL {
        let (from_torch, ignored) = converted(torch.path(), quant);
        let (from_safetensors, none) = converted(safetensors.path(), quant);
        assert_same(&from_torch, &from_safetensors);
        assert_eq!(none, [""; 0]);
        let expected = [
            "bytes",
            "empty",
            "flags",
            "ints",
            "lm_head.decoder.weight",
            "roberta.embeddings.position_ids",
            "roberta.pooler.dense.weight",
            "scalar",
        ];
        assert_eq!(ignored, expected);
        let weights = &from_torch.provenance().weights;
        assert_eq!(weights.len(), 1);
        assert_eq!(weights[0].file, "pytorch_model.bin");
        assert_eq!(weights[0].bytes, file.len() as u64);
    }
}

#[test]
fn every_form_has_the_same_values() {
    for prefix in ["roberta.", ""] {
        let tensors = tensors(prefix);
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            for zip64 in [false, true] {
                let directory = torch_model(&zip(&entries(&tensors, dtype), zip64));
                let checkpoint = open(directory.path()).unwrap();
                assert_eq!(checkpoint.ignored(), [""; 0]);
                for (name, (_, values)) in &tensors {
                    let name = name.strip_prefix("roberta.").unwrap_or(name);
                    let name = name.replace("lm_head.bias", "lm_head.decoder.bias");
                    assert_eq!(&checkpoint.tensor(&name).unwrap(), values, "{name}");
                }
            }
        }
    }
}

#[test]
fn views_are_read_by_their_strides() {
    let tensors = tensors("roberta.");
    // The query's weight as: its transpose's transpose; every second column; one row again and again.
    let name = "roberta.encoder.layer.0.attention.self.query.weight";
    let square = HIDDEN as i64;
    let storage: Vec<f32> = (0..2 * HIDDEN * HIDDEN).map(|i| i as f32 / 64.0).collect();
    for (offset, strides) in [
        (0, [1, square]),
        (1, [2 * square, 2]),
        (5, [0, 1]),
        (7, [1, 0]),
    ] {
        let mut entries = entries(&tensors, Dtype::F32);
        let bytes: Vec<u8> = storage.iter().flat_map(|x| x.to_le_bytes()).collect();
        entries.push(Entry::new("model/data/view", bytes));
        let views = tensors
            .iter()
            .enumerate()
            .map(|(key, (tensor, (shape, values)))| {
                let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
                let view = View {
                    storage: key.to_string(),
                    storage_len: values.len() as i64,
                    ..view(
                        0,
                        &shape,
                        &[shape.get(1).copied().unwrap_or(1), 1][2 - shape.len()..],
                    )
                };
                let odd = View {
                    storage: "view".into(),
                    storage_len: storage.len() as i64,
                    ..self::view(offset, &shape, &strides)
                };
                (tensor.as_str(), if tensor == name { odd } else { view })
            });
        entries[0] = Entry::new("model/data.pkl", pickle(&views.collect::<Vec<_>>()));
        let checkpoint = open(torch_model(&zip(&entries, false)).path()).unwrap();
        let at = |row: usize, column: usize| {
            storage[offset as usize + row * strides[0] as usize + column * strides[1] as usize]
        };
        let expected: Vec<f32> = (0..HIDDEN * HIDDEN)
            .map(|i| at(i / HIDDEN, i % HIDDEN))
            .collect();
        let name = "encoder.layer.0.attention.self.query.weight";
        assert_eq!(checkpoint.tensor(name).unwrap(), expected, "{strides:?}");
        let mut rows = vec![0.0; 2 * HIDDEN];
        checkpoint.read_rows(name, 3..5, &mut rows).unwrap();
        assert_eq!(rows, expected[3 * HIDDEN..5 * HIDDEN]);
    }
}

#[test]
fn safetensors_come_first() {
    let directory = model(&tensors("roberta."));
    write(directory.path(), "pytorch_model.bin", "not even a zip");
    let names = |directory: &Path| -> Vec<String> {
        let checkpoint = open(directory).unwrap();
        checkpoint.files().iter().map(|f| f.name()).collect()
    };
    assert_eq!(names(directory.path()), ["model.safetensors"]);
}

/// Writes the tensors as two shards and an index.
fn shard(directory: &Path, tensors: &Tensors) {
    let _ = fs::remove_file(directory.join("pytorch_model.bin"));
    let mut parts = [Tensors::new(), Tensors::new()];
    let mut map = json!({});
    for (i, (name, tensor)) in tensors.iter().enumerate() {
        parts[i % 2].insert(name.clone(), tensor.clone());
        map[name] = json!(format!("pytorch_model-{}.bin", i % 2));
    }
    for (i, part) in parts.iter().enumerate() {
        let name = format!("pytorch_model-{i}.bin");
        write(directory, &name, file(part, Dtype::F16));
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    write(directory, "pytorch_model.bin.index.json", index.to_string());
}

#[test]
fn shards_are_read() {
    let tensors = tensors("roberta.");
    let directory = torch_model(b"");
    shard(directory.path(), &tensors);
    let (sharded, ignored) = converted(directory.path(), Quant::Q8);
    assert_eq!(ignored, [""; 0]);
    assert_same(&sharded, &converted(model(&tensors).path(), Quant::Q8).0);
    let names: Vec<&str> = sharded
        .provenance()
        .weights
        .iter()
        .map(|w| w.file.as_str())
        .collect();
    assert_eq!(names, ["pytorch_model-0.bin", "pytorch_model-1.bin"]);
}

#[test]
fn damaged_shards_are_refused() {
    let tensors = tensors("roberta.");
    let directory = torch_model(b"");
    let dir = directory.path();
    shard(dir, &tensors);
    let first = fs::read(dir.join("pytorch_model-0.bin")).unwrap();
    fs::remove_file(dir.join("pytorch_model-0.bin")).unwrap();
    assert_error(
        open(dir),
        dir,
        "DIR/pytorch_model.bin.index.json names the shard `pytorch_model-0.bin`, which isn't beside it; download it",
    );
    write(dir, "pytorch_model-0.bin", &first[..first.len() / 2]);
    let error = common::chain(&open(dir).unwrap_err());
    assert!(
        error.contains("pytorch_model-0.bin: the zip is incomplete or damaged ("),
        "{error}"
    );

    // Each has what the other should have.
    fs::rename(
        dir.join("pytorch_model-1.bin"),
        dir.join("pytorch_model-0.bin"),
    )
    .unwrap();
    write(dir, "pytorch_model-1.bin", &first);
    let first = tensors.keys().next().unwrap();
    assert_error(
        open(dir),
        dir,
        &format!(
            "DIR/pytorch_model.bin.index.json says that the tensor `{first}` is in the shard `pytorch_model-0.bin`, and \
             it isn't; download both again"
        ),
    );
    for shard in ["../x", "/etc/passwd", "..", "", "a/b.bin", "a\\b.bin"] {
        let index = json!({"weight_map": {WORD: shard}});
        write(dir, "pytorch_model.bin.index.json", index.to_string());
        assert_error(
            open(dir),
            dir,
            &format!(
                "DIR/pytorch_model.bin.index.json names the shard `{shard}`; a shard is a file in the same directory"
            ),
        );
    }
}

#[test]
fn what_torch_does_not_write_is_refused() {
    for bytes in [
        &b""[..],
        b"P",
        b"PK",
        b"<!DOCTYPE html><html><body>404</body></html>",
        b"\x80\x02}.",
    ] {
        refused(
            bytes,
            "it isn't what torch.save writes: neither a zip nor torch's format before 1.6; download it again",
        );
    }
    let directory =
        torch_model(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
    assert_error(
        open(directory.path()),
        directory.path(),
        "DIR/pytorch_model.bin is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`",
    );
}

/// A file from before 1.6 with one tensor.
fn legacy_with_view(view: View, names: &[&str], storages: &[(u64, &[u8])]) -> Vec<u8> {
    legacy(true, &pickle(&[("odd", view)]), names, storages)
}

#[test]
fn the_format_before_1_6_must_be_whole() {
    let content = [0; 32];
    let whole = |names: &[&str], storages: &[(u64, &[u8])]| {
        legacy_with_view(view(0, &[2, 4], &[4, 1]), names, storages)
    };
    refused(
        &whole(&["0"], &[(8, &content[1..])]),
        "it ends within the storage `0`; download it again",
    );
    refused(
        &whole(&["0"], &[(u64::MAX / 2, &content)]),
        "it ends within the storage `0`; download it again",
    );
    refused(
        &whole(&["0"], &[]),
        "it ends within the storage `0`; download it again",
    );
    refused(
        &[&whole(&["0"], &[(8, &content)])[..], b"more"].concat(),
        "4 bytes follow its end; download it again",
    );
    refused(
        &whole(&["0", "0"], &[(8, &content), (8, &content)]),
        "it has the storage `0` twice",
    );
    refused(
        &whole(&[], &[]),
        "the tensor `odd` is in the storage `0`, which the file doesn't have",
    );
    refused(
        &whole(&["0"], &[(7, &content[..28])]),
        "the tensor `odd` is in the storage `0` of 28 bytes, which should have 8 elements of 4 bytes",
    );
    refused(
        &legacy_with_view(view(1, &[2, 4], &[4, 1]), &["0"], &[(8, &content)]),
        "the tensor `odd`, of shape [2, 4], strides [4, 1] and offset 1, isn't within its storage of 8 elements",
    );
    let big_endian = legacy(false, &pickle(&[]), &[], &[]);
    refused(
        &big_endian,
        "its bytes are in the order `big`; rq reads `little`",
    );
    let pickles = legacy(true, &pickle(&[]), &[], &[]);
    for length in [28, 40, pickles.len() - 1] {
        refused(&pickles[..length], "its pickle ends early");
    }
}

#[test]
fn the_pickles_from_before_1_6_are_data_too() {
    let magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    let machine = b"\x80\x02}X\x0d\0\0\0little_endian\x88s.";
    let with = |pickles: &[&[u8]]| [&[&magic[..]], pickles].concat().concat();
    refused(
        &with(&[b"\x80\x02cos\nsystem\nX\x04\0\0\0echo\x85R."]),
        "its pickle names `os.system`, which weights don't need; it is refused for safety; a file that you trust can be \
         saved again as safetensors",
    );
    refused(
        &with(&[b"\x80\x02}."]),
        "the instruction at byte 3 of its pickle needs the order of the bytes",
    );
    refused(
        &with(&[machine, b"\x80\x02]."]),
        "it holds no dictionary of tensors",
    );
    // The names of storages: not a list, a number in it, a name that no tensor has.
    for names in [
        &b"\x80\x02}."[..],
        b"\x80\x02](K\0e.",
        b"\x80\x02](X\x01\0\0\x009e.",
    ] {
        let file = with(&[machine, b"\x80\x02}.", names]);
        refused_with(&file, "needs the names of the storages");
    }
    // A storage that is a view of another, as torch 0.3 wrote.
    let pickle = pickle(&[("odd", view(0, &[8], &[1]))]);
    let at = pickle.windows(2).position(|pair| pair == b"tQ").unwrap();
    let with_view = [&pickle[..at], b"(X\x01\0\0\x001K\0K\x08t", &pickle[at..]].concat();
    let file = legacy(true, &with_view, &["0"], &[(8, &[0; 32])]);
    refused_with(&file, "needs a storage of its own, not a view of another");
}

#[test]
fn a_zip_must_be_whole() {
    let whole = zip(&whole(), false);
    for length in [4, 100, whole.len() / 2, whole.len() - 22, whole.len() - 1] {
        let directory = torch_model(&whole[..length]);
        let error = common::chain(&open(directory.path()).unwrap_err());
        assert!(
            error.contains("the zip is incomplete or damaged ("),
            "{length}: {error}"
        );
        assert!(error.ends_with("); download it again"), "{error}");
    }
    refused(
        &[&whole[..], b"more"].concat(),
        "4 bytes follow its end; download it again",
    );
    // The end says one entry more, or fewer.
    for count in [whole_count() + 1, whole_count() - 1] {
        let mut bytes = whole.clone();
        let at = bytes.len() - 14;
        bytes[at..at + 2].copy_from_slice(&count.to_le_bytes());
        bytes[at + 2..at + 4].copy_from_slice(&count.to_le_bytes());
        let directory = torch_model(&bytes);
        let error = common::chain(&open(directory.path()).unwrap_err());
        assert!(error.contains(&format!("entries of {count}")), "{error}");
    }
}

fn whole_count() -> u16 {
    whole().len() as u16
}

#[test]
fn entries_are_as_torch_writes_them() {
    let name = "model/data/3";
    let entry = |problem: &str| format!("the entry `{name}` of the zip {problem}");
    refused(
        &changed(name, |e| e.method = 8),
        &entry("is compressed; torch.save compresses nothing"),
    );
    refused(&changed(name, |e| e.flags = 1), &entry("is encrypted"));
    refused(
        &changed(name, |e| e.local_name = "model/data/4".into()),
        &entry("has another name where it is"),
    );
    refused(
        &zip(&[whole(), vec![Entry::new(name, [1, 2])]].concat(), false),
        &entry("is there twice"),
    );
    let mut odd = whole();
    odd.push(Entry::new("model/\u{1b}[2J", ""));
    refused(
        &zip(&odd, false),
        "the entry `model/[2J` of the zip has a name that isn't text",
    );

    // An entry of the directory that leads elsewhere: offsets are the last field before the name.
    let bytes = zip(&whole(), false);
    let directory = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let find = |name: &str| {
        let rest = &bytes[directory..];
        directory
            + rest
                .windows(name.len())
                .position(|w| w == name.as_bytes())
                .unwrap()
    };
    let lead = |name: &str, field: usize, value: u32| {
        let mut bytes = bytes.clone();
        let at = find(name) - field;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    const OFFSET: usize = 4;
    refused(
        &lead(name, OFFSET, u32::MAX - 1),
        &entry("isn't where the zip's directory says"),
    );
    refused(
        &lead(name, OFFSET, bytes.len() as u32),
        &entry("isn't where the zip's directory says"),
    );
    refused(
        &lead(name, OFFSET, 1),
        &entry("isn't where the zip's directory says"),
    );
    refused(
        &lead(name, OFFSET, 0),
        &entry("has another name where it is"),
    );
    // Longer than it is: over its neighbours, into the directory, or out of the file.
    let longer = |length: u32| {
        let mut bytes = lead(name, 22, length);
        let at = find(name) - 26;
        bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    let entries = whole();
    let at = entries.iter().position(|e| e.name == name).unwrap();
    refused(
        &longer(entries[at].content.len() as u32 + 1),
        &format!(
            "the entry `{}` of the zip begins within another",
            entries[at + 1].name
        ),
    );
    let start = bytes
        .windows(name.len())
        .position(|w| w == name.as_bytes())
        .unwrap()
        + name.len();
    refused(
        &longer((directory - start) as u32 + 1),
        &entry("reaches into the zip's directory"),
    );
    refused(
        &longer(1 << 30),
        &entry("isn't where the zip's directory says"),
    );
}

#[test]
fn every_byte_is_checked() {
    for name in ["model/data.pkl", "model/data/3"] {
        let entry = whole().into_iter().find(|e| e.name == name).unwrap();
        let mut content = entry.content.clone();
        content[17] ^= 0x10;
        let found = rawzip::crc32(&content);
        refused(
            &changed(name, |e| e.content = content),
            &format!(
                "the entry `{name}` of the zip has the CRC-32 {found:08x} instead of {:08x}; download it again",
                entry.crc
            ),
        );
    }
}

#[test]
fn checksums_may_be_left_out() {
    // As `torch.serialization.set_crc32_options(False)` has it.
    let mut entries = whole();
    for entry in &mut entries {
        entry.crc = 0;
    }
    assert!(open(torch_model(&zip(&entries, false)).path()).is_ok());
}

#[test]
fn there_is_one_pickle() {
    let mut entries = whole();
    entries.remove(0);
    let no_pickle = "the zip has no data.pkl, so it isn't what torch.save writes";
    refused(&zip(&entries, false), no_pickle);
    for name in ["data.pkl", "/data.pkl", "a/b/data.pkl", "model/other.pkl"] {
        let mut entries = entries.clone();
        entries.push(Entry::new(name, whole()[0].content.clone()));
        // One slash, with nothing before it, is no directory.
        refused(&zip(&entries, false), no_pickle);
    }
    let mut entries = whole();
    entries.push(Entry::new("other/data.pkl", ""));
    refused(
        &zip(&entries, false),
        "the entry `other/data.pkl` of the zip is a second pickle",
    );
}

#[test]
fn bytes_are_little_endian() {
    refused(
        &changed("model/byteorder", |e| {
            *e = Entry::new("model/byteorder", "big");
        }),
        "its bytes are in the order `big`; rq reads `little`",
    );
    // Older files don't say.
    let mut entries = whole();
    entries.retain(|e| e.name != "model/byteorder");
    assert!(open(torch_model(&zip(&entries, false)).path()).is_ok());
}

#[test]
fn a_pickle_that_does_more_is_refused_for_safety() {
    let with_pickle = |bytes: &[u8]| {
        changed("model/data.pkl", |e| {
            *e = Entry::new("model/data.pkl", bytes);
        })
    };
    refused(
        &with_pickle(b"\x80\x02cos\nsystem\nX\x04\0\0\0echo\x85R."),
        "its pickle names `os.system`, which weights don't need; it is refused for safety; a \
         file that you trust can be saved again as safetensors",
    );
    refused(
        &with_pickle(b"\x80\x02}\x93."),
        "its pickle has the instruction STACK_GLOBAL (0x93) at byte 3, which weights don't need; it is refused for safety; a \
         file that you trust can be saved again as safetensors",
    );
    refused(
        &with_pickle(b"\x80\x02}X\x05\0\0\0epochK\x03s."),
        "its entry `epoch` isn't a tensor: it is not the weights alone, as `save_pretrained` saves them",
    );
    refused(&with_pickle(b""), "its pickle ends early");
    refused(
        &with_pickle(b"\x80\x02}.."),
        "1 bytes follow the end of its pickle",
    );
}

/// The small model with a larger vocabulary, all of its tensors views of these strides into one storage; and a decoder, if there
/// is one.
fn shared(vocab: usize, storage_len: usize, strides: [i64; 2], decoder: bool) -> tempfile::TempDir {
    let mut tensors = tensors("roberta.");
    tensors.get_mut(WORD).unwrap().0[0] = vocab;
    tensors.get_mut("lm_head.bias").unwrap().0[0] = vocab;
    if decoder {
        let words = tensors[WORD].clone();
        tensors.insert("lm_head.decoder.weight".into(), words);
    }
    let views: Vec<_> = tensors
        .iter()
        .map(|(name, (shape, _))| {
            let shape: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
            let [rows, columns] = strides;
            let strides = match shape[..] {
                [n] => vec![i64::from(n <= storage_len as i64)],
                _ => vec![rows, columns],
            };
            let view = View {
                storage_len: storage_len as i64,
                ..view(0, &shape, &strides)
            };
            (name.as_str(), view)
        })
        .collect();
    let file = zip(
        &[
            Entry::new("model/data.pkl", pickle(&views)),
            Entry::new("model/data/0", vec![0; 4 * storage_len]),
        ],
        false,
    );
    let directory = torch_model(&file);
    let mut config = common::config();
    config["vocab_size"] = vocab.into();
    write(
        directory.path(),
        "config.json",
        config.to_string().as_bytes(),
    );
    directory
}

#[test]
fn tensors_are_little_more_than_their_file() {
    let (vocab, columns) = (1 << 20, HIDDEN as i64);
    for (storage_len, strides) in [
        // One element again and again, one row, one column, rows that overlap.
        (1, [0, 0]),
        (32, [0, 1]),
        (vocab, [1, 0]),
        (vocab + HIDDEN, [1, 1]),
    ] {
        // The last two have a storage of 4 MB, of which there are 12 in the words' matrix, and as many in the decoder's.
        let decoder = storage_len > 32;
        let directory = shared(vocab, storage_len, strides, decoder);
        let error = common::chain(&open(directory.path()).unwrap_err());
        assert!(
            error.contains("pytorch_model.bin, the tensors have "),
            "{error}"
        );
        assert!(error.contains("rq reads up to 4 times as many"), "{error}");
    }
    // As many links to one file are one file.
    #[cfg(unix)]
    {
        let directory = shared(vocab, vocab, [1, 0], false);
        let path = |name: &str| directory.path().join(name);
        fs::rename(path("pytorch_model.bin"), path("0.bin")).unwrap();
        let mut map = serde_json::Map::new();
        for (n, name) in tensors("roberta.").into_keys().enumerate() {
            let shard = format!("{n}.bin");
            match n {
                0 => {}
                n if n % 2 == 0 => fs::hard_link(path("0.bin"), path(&shard)).unwrap(),
                _ => std::os::unix::fs::symlink("0.bin", path(&shard)).unwrap(),
            }
            map.insert(name, shard.into());
        }
        let index = json!({ "weight_map": map }).to_string();
        write(
            directory.path(),
            "pytorch_model.bin.index.json",
            index.as_bytes(),
        );
        let error = common::chain(&open(directory.path()).unwrap_err());
        assert!(error.contains("rq reads up to 4 times as many"), "{error}");
    }
    // A decoder that is the embeddings, both of one storage, is what torch saves of a tied model; here all else is in it, too.
    for strides in [[columns, 1], [1, 4096]] {
        let directory = shared(4096, 4096 * 24, strides, true);
        assert!(open(directory.path()).unwrap().tied(), "{strides:?}");
    }
}

#[test]
fn tensors_are_within_their_storages() {
    let whole = view(0, &[2, 4], &[4, 1]);
    let lacks = "lacks 42 of the model's tensors";
    for good in [
        whole.clone(),
        view(7, &[], &[]),
        view(8, &[0, 5], &[5, 1]),
        view(0, &[0, i64::MAX], &[1, 1]),
        view(7, &[100, 100], &[0, 0]),
        view(1, &[2, 2], &[4, 2]),
        view(0, &[1, 8], &[i64::MAX, 1]),
    ] {
        let directory = torch_model(&with_view(good));
        let error = common::chain(&open(directory.path()).unwrap_err());
        assert!(error.contains(lacks), "{error}");
    }
    refused(
        &with_view(View {
            storage: "1".into(),
            ..whole.clone()
        }),
        "the tensor `odd` is in the storage `1`, which the file doesn't have",
    );
    for (storage_type, len, element) in [
        ("FloatStorage", 9, 4),
        ("FloatStorage", 7, 4),
        ("HalfStorage", 8, 2),
        ("DoubleStorage", 8, 8),
        ("FloatStorage", i64::MAX, 4),
        ("FloatStorage", 0, 4),
    ] {
        refused(
            &with_view(View {
                storage_type,
                storage_len: len,
                ..whole.clone()
            }),
            &format!(
                "the tensor `odd` is in the storage `0` of 32 bytes, which should have {len} elements of {element} bytes"
            ),
        );
    }
    for (offset, shape, strides) in [
        (1, vec![2, 4], vec![4, 1]),
        (0, vec![3, 4], vec![4, 1]),
        (0, vec![2, 4], vec![5, 1]),
        (0, vec![2, 4], vec![4, 2]),
        (8, vec![], vec![]),
        (9, vec![0], vec![1]),
        (i64::MAX, vec![2], vec![1]),
        (0, vec![2], vec![i64::MAX]),
        (0, vec![3], vec![i64::MAX]),
        (0, vec![i64::MAX, i64::MAX], vec![i64::MAX, 1]),
        (0, vec![i64::MAX, i64::MAX], vec![0, 0]),
        (0, vec![1 << 32, 1 << 32], vec![0, 0]),
    ] {
        refused(
            &with_view(view(offset, &shape, &strides)),
            &format!(
                "the tensor `odd`, of shape {shape:?}, strides {strides:?} and offset {offset}, isn't within its storage \
                 of 8 elements"
            ),
        );
    }
}

#[test]
fn types_and_shapes_are_checked_as_for_safetensors() {
    let directory = torch_model(&file(&tensors("roberta."), Dtype::I32));
    assert_error(
        open(directory.path()),
        directory.path(),
        &format!(
            "DIR/pytorch_model.bin: the tensor `{WORD}` is in I32; rq reads F64, F32, F16 and BF16"
        ),
    );
    let mut tensors = tensors("roberta.");
    tensors.remove("lm_head.dense.bias");
    let directory = torch_model(&file(&tensors, Dtype::F32));
    assert_error(
        open(directory.path()),
        directory.path(),
        "DIR/pytorch_model.bin lacks 1 of the model's tensors: lm_head.dense.bias",
    );
}

#[test]
fn an_output_over_the_weights_is_refused() {
    let directory = torch_model(TORCH_FILE);
    let dir = directory.path();
    let output = dir.join("pytorch_model.bin");
    let options = ConvertOptions {
        quant: Quant::Q8,
        threads: 1,
        calibration: Calibrate::Never,
        head: None,
    };
    assert_error(
        convert_source(&find(dir).unwrap(), &output, &options, &NoProgress),
        dir,
        "DIR/pytorch_model.bin is part of the model that is to be converted; choose another output",
    );
    assert!(fs::read(&output).unwrap() == TORCH_FILE);
}
