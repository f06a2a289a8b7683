//! Sparse embeddings: `rq embed`, `rq similar` and `rq info` with a sparse encoder, and with any masked language model.

use crate::common::{User, data, tests_path};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const TEXTS: [&str; 3] = [
    "The cat sat on the mat.",
    "",
    "Where did you put the keys? They were on the table, under the newspaper.",
];

/// Writes the checkpoint of the sparse encoder of this name in `goldens/sparse.json`, and returns its golden.
pub(crate) fn checkpoint(name: &str, directory: &Path) -> Value {
    let json = fs::read(tests_path("goldens/sparse.json")).unwrap();
    let goldens: Vec<Value> = serde_json::from_slice(&json).unwrap();
    let golden = goldens.into_iter().find(|golden| golden["name"] == name);
    let golden = golden.unwrap();
    fs::create_dir(directory).unwrap();
    for entry in fs::read_dir(tests_path(golden["checkpoint"].as_str().unwrap())).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
    }
    for (file, content) in golden["files"].as_object().unwrap() {
        fs::create_dir_all(directory.join(file).parent().unwrap()).unwrap();
        fs::write(directory.join(file), content.to_string()).unwrap();
    }
    golden
}

/// One whose model is that encoder, and its products with the first text.
fn user(name: &str) -> (User, Vec<f64>) {
    let user = User::new();
    let directory = user.path("checkpoint");
    let golden = checkpoint(name, &directory);
    let model = user.at("sparse.rq");
    let ran = user.rq(&["convert", directory.to_str().unwrap(), "-o", &model]);
    assert!(!ran.succeeds().contains("note:"), "{ran:?}");
    let products = golden["similarity"].as_array().unwrap().iter();
    let products = products.map(|x| x.as_f64().unwrap()).collect();
    (user.set("RQ_MODEL", model), products)
}

fn lines(output: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap();
    output.lines().map(parse).collect()
}

/// The files of a zip without compression, by name, from its directory at the end.
fn unzipped(path: &str) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let number = |at: usize, len: usize| {
        let bytes = bytes[at..at + len].iter().rev();
        bytes.fold(0, |sum, &byte| sum << 8 | usize::from(byte))
    };
    let end = bytes.len() - 22;
    assert_eq!(&bytes[end..end + 4], b"PK\x05\x06");
    let (count, mut at) = (number(end + 10, 2), number(end + 16, 4));
    let mut files = BTreeMap::new();
    for _ in 0..count {
        assert_eq!(&bytes[at..at + 4], b"PK\x01\x02");
        assert_eq!(number(at + 10, 2), 0, "stored");
        let (size, name, extra) = (number(at + 24, 4), number(at + 28, 2), number(at + 30, 2));
        let comment = number(at + 32, 2);
        let local = number(at + 42, 4);
        let data = local + 30 + number(local + 26, 2) + number(local + 28, 2);
        let title = String::from_utf8(bytes[at + 46..at + 46 + name].to_vec()).unwrap();
        files.insert(title, bytes[data..data + size].to_vec());
        at += 46 + name + extra + comment;
    }
    files
}

/// A row's columns and values.
type Row = (Vec<u64>, Vec<f32>);

/// A matrix of SciPy's as rows, and its number of columns.
fn csr(path: &str) -> (Vec<Row>, u64) {
    let files = unzipped(path);
    let array = |name: &str, descr: &str| {
        let bytes = &files[&format!("{name}.npy")];
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = std::str::from_utf8(&bytes[10..start]).unwrap();
        assert!(
            header.starts_with(&format!("{{'descr': '{descr}', 'fortran_order': False")),
            "{header}"
        );
        bytes[start..].to_vec()
    };
    let words = |name| -> Vec<u64> {
        let bytes = array(name, "<i4");
        let words = bytes.as_chunks().0.iter();
        words.map(|&b| u64::from(u32::from_le_bytes(b))).collect()
    };
    assert_eq!(array("format", "|S3"), b"csr");
    let shape = array("shape", "<i8");
    let shape: Vec<u64> = shape
        .as_chunks()
        .0
        .iter()
        .map(|&b| u64::from_le_bytes(b))
        .collect();
    let data = array("data", "<f4");
    let data: Vec<f32> = data
        .as_chunks()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect();
    let (indices, indptr) = (words("indices"), words("indptr"));
    assert_eq!(
        (indptr.len() as u64, indices.len()),
        (shape[0] + 1, data.len())
    );
    let row = |ends: &[u64]| {
        let range = ends[0] as usize..ends[1] as usize;
        (indices[range.clone()].to_vec(), data[range].to_vec())
    };
    (indptr.windows(2).map(row).collect(), shape[1])
}

#[test]
fn a_sparse_encoder_is_one_by_default() {
    let (user, _) = user("distilbert-log-prompt");
    let ran = user.rq(&["info"]);
    let said = ran.succeeds();
    for line in [
        "embeddings     sparse: largest of the tokens' log(1 + log(1 + max(logit, 0))), the 20 largest kept",
        "dimensions     323",
        "prompt         query (default): \"query: \"",
    ] {
        assert!(said.lines().any(|found| found == line), "{said}");
    }
    let ran = user.rq(&["embed", "the cat", "the\tdog"]);
    let blocks: Vec<&str> = ran.succeeds().split("\n\n").collect();
    assert_eq!(blocks.len(), 2);
    let rows: Vec<&str> = blocks[1].lines().collect();
    assert_eq!((rows.len(), rows[0]), (22, "the\\tdog"));
    assert!(rows[1].starts_with("  token ") && rows[1].ends_with("  weight"));
    let weights: Vec<f64> = rows[2..]
        .iter()
        .map(|row| row.split_whitespace().last().unwrap().parse().unwrap())
        .collect();
    assert!(weights.is_sorted_by(|a, b| a >= b) && weights[19] > 0.0);
    // The prompt changes them, and --sparse says what is so anyway.
    let same = user.rq(&["embed", "--sparse", "the cat", "the\tdog"]);
    assert_eq!(same.succeeds(), ran.stdout);
    let other = user.rq(&["embed", "--prompt-text", "", "the cat", "the\tdog"]);
    assert_ne!(other.succeeds(), ran.stdout);
    let fewer = user.rq(&["embed", "--max-active-dims", "3", "the cat"]);
    assert_eq!(fewer.succeeds().lines().count(), 5);
    // Dense ones on request.
    let dense = user.rq(&["embed", "--json", "--pooling", "mean", "the cat"]);
    assert_eq!(lines(dense.succeeds())[0].as_array().unwrap().len(), 36);
    for flags in [&["--normalize"][..], &["--dim", "3"]] {
        user.rq(&[&["embed", "the cat"], flags].concat()).fails(&[
            "sparse encoder",
            flags[0],
            "--pooling",
        ]);
    }
    user.rq(&["embed", "--sparse", "--pooling", "mean", "the cat"])
        .fails(&["--sparse", "cannot be used with"]);
}

#[test]
fn entries_as_json_and_for_scipy() {
    let (user, _) = user("bert");
    let ran = user.rq(&[&["embed", "--json"], &TEXTS[..]].concat());
    let answers = lines(ran.succeeds());
    for answer in &answers {
        let count = |field: &str| answer[field].as_array().unwrap().len();
        assert!(count("indices") > 100);
        assert_eq!(
            (count("values"), count("tokens")),
            (count("indices"), count("indices"))
        );
    }
    let at = answers[0]["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .position(|token| token == "cat");
    let index = answers[0]["indices"][at.unwrap()].as_u64().unwrap();
    let vocabulary = fs::read(tests_path("goldens/architectures/bert-mlm/tokenizer.json"));
    let vocabulary: Value = serde_json::from_slice(&vocabulary.unwrap()).unwrap();
    assert_eq!(vocabulary["model"]["vocab"]["cat"], index);
    let ran = user.rq_with(&["embed", "--jsonl"], TEXTS.join("\n").as_bytes());
    for ((object, answer), text) in lines(ran.succeeds()).iter().zip(&answers).zip(TEXTS) {
        let mut expected = answer.clone();
        expected["text"] = text.into();
        assert_eq!(*object, expected);
    }

    // A line that is wrong leaves the rows those of the lines.
    let (file, out) = (user.at("texts.txt"), user.at("a.npz"));
    let input = [TEXTS[0].as_bytes(), b"\n\xff\n", TEXTS[2].as_bytes()].concat();
    fs::write(&file, input).unwrap();
    let ran = user.rq(&["embed", "--file", &file, "--out", &out]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert!(said[0].contains("line 2: the line isn't UTF-8"), "{said:?}");
    assert!(
        said[2].contains("the rows of these texts are empty"),
        "{said:?}"
    );
    let (rows, columns) = csr(&out);
    assert_eq!((rows.len(), columns), (3, 323));
    let expected = |answer: &Value| -> (Vec<u64>, Vec<f32>) {
        let numbers = |field: &str| answer[field].as_array().unwrap().iter();
        let indices = numbers("indices").map(|x| x.as_u64().unwrap());
        let values = numbers("values").map(|x| x.as_f64().unwrap() as f32);
        (indices.collect(), values.collect())
    };
    assert_eq!(rows[0], expected(&answers[0]));
    assert_eq!(rows[1], (Vec::new(), Vec::new()));
    assert_eq!(rows[2], expected(&answers[2]));
    let weights = rows[0].0.len() + rows[2].0.len();
    assert_eq!(
        ran.stdout,
        format!("{out}: 3 x 323, float32, {weights} weights\n")
    );

    // What fails leaves the file that was there, and nothing else.
    let before = fs::read_dir(&user.home).unwrap().count();
    user.rq(&["embed", "--out", &user.at("a.npy"), "the cat"])
        .fails(&["SciPy's .npz"]);
    let long = "cat ".repeat(200);
    user.rq(&["embed", "--out", &out, "the cat", &long])
        .fails(&["text 2 of 2", "takes at most 128", "--truncate"]);
    assert_eq!(fs::read_dir(&user.home).unwrap().count(), before);
    assert_eq!(csr(&out).0.len(), 3);
}

#[test]
fn sparse_encoders_compare_by_the_inner_product() {
    let (user, products) = user("bert");
    let ran = user.rq(&[&["similar", "--json"], &TEXTS[..]].concat());
    let matrix = lines(ran.succeeds()).remove(0);
    for (i, expected) in products.iter().enumerate() {
        let found = matrix[0][i].as_f64().unwrap();
        assert!((found / expected - 1.0).abs() < 0.02, "{found} {expected}");
        assert_eq!(matrix[0][i], matrix[i][0]);
    }
    let ran = user.rq_with(
        &["similar", TEXTS[0], "--json"],
        TEXTS.join("\n").as_bytes(),
    );
    let ranked = lines(ran.succeeds()).remove(0);
    assert_eq!(ranked.as_array().unwrap().len(), 3);
    assert_eq!(ranked[0]["corpus_id"], 2);
    assert_eq!(ranked[0]["score"], matrix[0][2]);
    let ran = user.rq_with(&["similar", TEXTS[0], "-k", "1"], TEXTS[2].as_bytes());
    assert!(
        ran.succeeds().starts_with("product  line  text\n"),
        "{ran:?}"
    );
    // By the cosine of dense ones if they are chosen.
    let ran = user.rq(&["similar", "--pooling", "cls", "the cat", "the cat"]);
    assert_eq!(ran.succeeds(), "1.0000\n");
}

#[test]
fn any_masked_language_model_makes_them_when_asked() {
    let user = User::new();
    let sapiens = user.at("sapiens.rq");
    user.rq(&["convert", &data("sapiens-vh"), "-o", &sapiens])
        .succeeds();
    let user = user.set("RQ_MODEL", sapiens);
    let ran = user.rq(&[
        "embed",
        "--sparse",
        "--json",
        "--max-active-dims",
        "2",
        "EVQLVESGG",
    ]);
    let answer = lines(ran.succeeds()).remove(0);
    assert_eq!(answer["indices"].as_array().unwrap().len(), 2);
    let dense = user.rq(&["embed", "--json", "EVQLVESGG"]);
    assert!(lines(dense.succeeds())[0].is_array());
    user.rq(&["embed", "--max-active-dims", "2", "EVQLVESGG"])
        .fails(&["--sparse"]);
    user.rq(&["embed", "--out", &user.at("a.npz"), "EVQLVESGG"])
        .fails(&[".npy", "--sparse"]);
    let model = user.at("sentences.rq");
    let sentences = tests_path("goldens/architectures/sentence-mean");
    user.rq(&["convert", sentences.to_str().unwrap(), "-o", &model])
        .succeeds();
    user.rq(&["embed", "--sparse", "-m", &model, "the cat"])
        .fails(&["a sparse embedding needs a model with the head masked_lm"]);
}
