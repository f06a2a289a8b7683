//! `rq embed` and `rq similar`.

use crate::common::tests_path;
use crate::common::{User, data};
use serde_json::{Value, json};
use std::fs;

const TEXTS: [&str; 3] = [
    "The cat sat on the mat.",
    "A cat was sitting on the rug.",
    "Interest rates rose again last month.",
];

/// One whose model pools and normalizes as its publisher says.
fn user() -> User {
    let user = User::new();
    let sentence_mean = tests_path("goldens/architectures/sentence-mean");
    let model = user.at("sentences.rq");
    user.rq(&["convert", sentence_mean.to_str().unwrap(), "-o", &model])
        .succeeds();
    user.set("RQ_MODEL", model)
}

fn lines(output: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap();
    output.lines().map(parse).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|x| x.as_f64().unwrap() as f32).collect()
}

/// An array of NumPy's: rows, columns, values.
fn npy(path: &str) -> (usize, usize, Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    assert!(bytes.starts_with(b"\x93NUMPY\x01\x00"));
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    assert!(start.is_multiple_of(64));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    let shape = header
        .strip_prefix("{'descr': '<f4', 'fortran_order': False, 'shape': (")
        .unwrap();
    let (shape, rest) = shape.split_once("), }").unwrap();
    assert!(rest.ends_with('\n') && rest.trim().is_empty());
    let (rows, columns) = shape.split_once(", ").unwrap();
    let values = bytes[start..].as_chunks().0.iter();
    let values: Vec<f32> = values.map(|b| f32::from_le_bytes(*b)).collect();
    let (rows, columns) = (rows.parse().unwrap(), columns.parse().unwrap());
    assert_eq!(4 * rows * columns, bytes.len() - start);
    (rows, columns, values)
}

#[test]
fn a_row_for_a_person() {
    let user = user();
    let texts = [TEXTS[0], "a\tb", &"a cat ".repeat(12)];
    let ran = user.rq(&[&["embed"], &texts[..]].concat());
    let rows: Vec<&str> = ran.succeeds().lines().collect();
    assert_eq!(rows.len(), 4);
    let heading = "     norm  32 values, the first 5                                 text";
    assert_eq!(rows[0], heading);
    let at = heading.find("text").unwrap();
    let shown = [TEXTS[0], "a\\tb", &("a cat ".repeat(10) + "...")];
    for (row, text) in rows[1..].iter().zip(shown) {
        assert!(row.starts_with("   1.0000  "), "{row}");
        assert_eq!(row[at..], *text);
    }
    // One by one the same rows.
    let ran = user.rq(&["embed", TEXTS[0]]);
    assert_eq!(ran.succeeds().lines().nth(1), Some(rows[1]));
    // And lengths that stay what they are.
    let ran = user.rq(&["embed", "--no-normalize", TEXTS[0]]);
    assert!(!ran.succeeds().contains(" 1.0000 "), "{ran:?}");
}

#[test]
fn tokens_for_a_person() {
    let user = user();
    let ran = user.rq(&["embed", "--pooling", "none", "the cat", "the"]);
    let blocks: Vec<&str> = ran.succeeds().split("\n\n").collect();
    assert_eq!(blocks.len(), 2);
    let rows: Vec<&str> = blocks[1].lines().collect();
    assert_eq!(rows[0], "the");
    assert_eq!(rows[1], "  token     norm  32 values, the first 5");
    assert!(rows[2].starts_with("  [CLS] "), "{rows:?}");
    assert!(rows.last().unwrap().starts_with("  [SEP] "), "{rows:?}");
}

#[test]
fn arrays_and_objects() {
    let user = user();
    let arrays = user.rq(&[&["embed", "--json"], &TEXTS[..]].concat());
    let arrays = lines(arrays.succeeds());
    assert_eq!(arrays.len(), 3);
    assert!(arrays.iter().all(|array| floats(array).len() == 32));
    let objects = user.rq_with(&["embed", "--jsonl"], TEXTS.join("\n").as_bytes());
    let objects = lines(objects.succeeds());
    for ((object, array), text) in objects.iter().zip(&arrays).zip(TEXTS) {
        assert_eq!(*object, json!({"text": text, "embedding": array}));
    }
    let tokens = user.rq(&["embed", "--jsonl", "--pooling", "none", "the cat"]);
    let tokens = lines(tokens.succeeds());
    let names = tokens[0]["tokens"].as_array().unwrap();
    assert_eq!(names.first().unwrap(), "[CLS]");
    let vectors = tokens[0]["embedding"].as_array().unwrap();
    assert_eq!(vectors.len(), names.len());
    let alone = user.rq(&["embed", "--json", "--pooling", "none", "the cat"]);
    assert_eq!(lines(alone.succeeds())[0], tokens[0]["embedding"]);
    let cls = user.rq(&[
        "embed",
        "--json",
        "--pooling",
        "cls",
        "--no-normalize",
        "the cat",
    ]);
    assert_eq!(lines(cls.succeeds())[0], vectors[0]);
}

#[test]
fn a_line_that_is_wrong_has_an_error_in_its_place() {
    let user = user();
    let long = "cat ".repeat(100);
    let input = [
        b"the cat\n\xff\n".to_vec(),
        long.into_bytes(),
        b"\n\n".to_vec(),
    ]
    .concat();
    let ran = user.rq_with(&["embed", "--json"], &input);
    let answers = lines(&ran.stdout);
    assert_eq!((ran.code, answers.len()), (Some(1), 4), "{ran:?}");
    assert_eq!(answers[1]["line"], 2);
    let error = answers[2]["error"].as_str().unwrap();
    assert!(error.contains("takes at most 48"), "{error}");
    // An empty text has an embedding.
    assert_eq!(floats(&answers[3]).len(), 32);
    let ran = user.rq_with(&["embed", "--truncate"], &input);
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(1), 4));
    assert!(ran.stderr.starts_with("rq: standard input, line 2: "));
}

#[test]
fn a_file_for_numpy() {
    let user = user();
    let (out, text) = (user.at("embeddings.npy"), user.at("texts.txt"));
    let arrays = user.rq(&[&["embed", "--json"], &TEXTS[..]].concat());
    let expected: Vec<f32> = lines(arrays.succeeds()).iter().flat_map(floats).collect();
    let ran = user.rq(&[&["embed", "--out", &out], &TEXTS[..]].concat());
    assert_eq!(ran.succeeds(), format!("{out}: 3 x 32, float32\n"));
    // JSON's numbers are read back as the same bits.
    assert_eq!(npy(&out), (3, 32, expected.clone()));

    // A line that is wrong leaves the rows those of the lines.
    let input = [TEXTS[0].as_bytes(), b"\n\xff\n", TEXTS[1].as_bytes()].concat();
    fs::write(&text, input).unwrap();
    let ran = user.rq(&["embed", "-o", &out, "--file", &text]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stdout, format!("{out}: 3 x 32, float32\n"));
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("line 2: the line isn't UTF-8"));
    assert!(said[2].contains("NaN"));
    let (rows, columns, values) = npy(&out);
    assert_eq!((rows, columns), (3, 32));
    assert_eq!(values[..32], expected[..32]);
    assert!(values[32..64].iter().all(|x| x.is_nan()));
    assert_eq!(values[64..], expected[32..64]);

    let ran = user.rq(&["embed", "--out", &out]);
    assert_eq!(ran.succeeds(), format!("{out}: 0 x 32, float32\n"));
    assert_eq!(npy(&out), (0, 32, Vec::new()));

    // What fails leaves the file that was there, and nothing else.
    let before: Vec<_> = fs::read_dir(&user.home).unwrap().collect();
    let long = "cat ".repeat(100);
    user.rq(&["embed", "--out", &out, "the cat", &long])
        .fails(&["text 2 of 2", "takes at most 48", "--truncate"]);
    user.rq(&["embed", "--out", &out, "--pooling", "none", "the cat"])
        .fails(&["--out", "--pooling none", "--jsonl"]);
    user.rq(&["embed", "--out", &user.at("none/a.npy"), "the cat"])
        .fails(&["can't create a file in", "none"]);
    user.rq(&["embed", "--out", &user.at(""), "the cat"])
        .fails(&["is a directory"]);
    user.rq(&["embed", "--out", &out, "--json", "the cat"])
        .fails(&["--json", "cannot be used with"]);
    assert_eq!(fs::read_dir(&user.home).unwrap().count(), before.len());
    assert_eq!(npy(&out), (0, 32, Vec::new()));
}

#[test]
fn two_texts_have_a_cosine_and_more_a_matrix() {
    let user = user();
    let similar = |more: &[&str]| {
        let ran = user.rq(&[&["similar"], more].concat());
        ran.succeeds().to_owned()
    };
    assert_eq!(similar(&["the cat", "the cat"]), "1.0000\n");
    let matrix = lines(&similar(&[&["--json"], &TEXTS[..]].concat()));
    let rows: Vec<Vec<f32>> = matrix[0].as_array().unwrap().iter().map(floats).collect();
    for (i, row) in rows.iter().enumerate() {
        assert_eq!((row.len(), row[i]), (3, 1.0));
        assert!((0..3).all(|j| row[j] == rows[j][i]));
    }
    let between = format!("{:.4}\n", rows[0][1]);
    assert_eq!(similar(&TEXTS[..2]), between);
    let shown = similar(&TEXTS);
    assert_eq!(shown.lines().next(), Some("         1        2        3"));
    let second = format!(
        "2{:9.4}   1.0000{:9.4}  {}",
        rows[1][0], rows[1][2], TEXTS[1]
    );
    assert_eq!(shown.lines().nth(2), Some(&*second));
    let objects = lines(&similar(&[&["--jsonl"], &TEXTS[..]].concat()));
    let expected = json!({"text": TEXTS[2], "similarities": matrix[0][2]});
    assert_eq!((objects.len(), &objects[2]), (3, &expected));

    user.rq(&["similar"]).fails(&["<TEXT>"]);
    user.rq(&["similar", "a", "b", "--file", "c"])
        .fails(&["--file"]);
    user.rq(&["similar", "a", &"cat ".repeat(100)])
        .fails(&["text 2 of 2", "takes at most 48"]);
}

#[test]
fn lines_are_ranked() {
    let user = user();
    let texts = [TEXTS[2], TEXTS[1], TEXTS[0], TEXTS[1]];
    let rank = |more: &[&str]| {
        let arguments = [&["similar", TEXTS[1]], more].concat();
        let ran = user.rq_with(&arguments, texts.join("\n").as_bytes());
        ran.succeeds().to_owned()
    };
    let ranked = lines(&rank(&["--jsonl"]));
    let numbers: Vec<u64> = ranked.iter().map(|r| r["line"].as_u64().unwrap()).collect();
    // Equal ones in their order.
    assert_eq!(numbers[..2], [2, 4]);
    assert_eq!(
        ranked[0],
        json!({"text": TEXTS[1], "line": 2, "score": 1.0})
    );
    let scores: Vec<f64> = ranked
        .iter()
        .map(|r| r["score"].as_f64().unwrap())
        .collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores.len() == 4);
    let best = json!([
        {"corpus_id": 1, "score": 1.0, "text": TEXTS[1]}, {"corpus_id": 3, "score": 1.0, "text": TEXTS[1]}
    ]);
    assert_eq!(lines(&rank(&["--json", "-k", "2"])), [best]);
    let shown = format!(" cosine  line  text\n 1.0000     2  {}\n", TEXTS[1]);
    assert_eq!(rank(&["--top-k", "1"]), shown);

    let file = user.at("lines.txt");
    fs::write(&file, [b"the cat\n\xff\n", TEXTS[1].as_bytes()].concat()).unwrap();
    let ran = user.rq(&["similar", TEXTS[1], "-f", &file, "--jsonl"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.stderr.contains("line 2: the line isn't UTF-8"),
        "{ran:?}"
    );
    assert_eq!(lines(&ran.stdout)[0]["line"], 3);
    assert_eq!(user.rq(&["similar", "the cat"]).succeeds(), "");
    assert_eq!(
        user.rq(&["similar", "the cat", "--json"]).succeeds(),
        "[]\n"
    );
    user.rq(&["similar", "-k", "0", "the cat"])
        .fails(&["--top-k"]);
}

/// Any model will do, with a different head or none of a sentence encoder's settings.
#[test]
fn a_masked_language_model_embeds() {
    let user = User::new();
    let model = user.at("sapiens.rq");
    user.rq(&["convert", &data("sapiens-vh"), "-o", &model])
        .succeeds();
    let ran = user.rq(&["embed", "--json", "-m", &model, "EVQLVESGG"]);
    assert_eq!(floats(&lines(ran.succeeds())[0]).len(), 128);
}

/// One vector for each token, by default; nothing that takes one for each text gets those.
#[test]
fn a_multi_vector_encoder_has_a_vector_for_each_token() {
    let user = User::new();
    let directory = user.path("checkpoint");
    fs::create_dir_all(directory.join("1_Normalize")).unwrap();
    for entry in fs::read_dir(tests_path("goldens/architectures/bert-base-model")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
    }
    let modules = json!([
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Normalize", "type": "sentence_transformers.base.modules.normalize.Normalize"}
    ]);
    fs::write(directory.join("modules.json"), modules.to_string()).unwrap();
    let names = json!({"module_input_name": "token_embeddings"});
    fs::write(directory.join("1_Normalize/config.json"), names.to_string()).unwrap();
    let whole = json!({"query_prefix": "the ", "skiplist_words": ["."], "query_length": 32, "do_query_expansion": true});
    fs::write(
        directory.join("config_sentence_transformers.json"),
        whole.to_string(),
    )
    .unwrap();
    let model = user.at("tokens.rq");
    let ran = user.rq(&["convert", directory.to_str().unwrap(), "-o", &model]);
    let said = ran.succeeds();
    for note in [
        "a multi-vector encoder",
        "query_prefix \"the \"",
        "skiplist_words",
        "query_length 32",
        "query expansion",
    ] {
        assert!(
            said.lines()
                .any(|line| line.starts_with("note:") && line.contains(note)),
            "{note}: {said}"
        );
    }
    let user = user.set("RQ_MODEL", model);
    let ran = user.rq(&["info"]);
    assert!(
        ran.succeeds()
            .contains("embeddings     each token's vector, scaled to length 1\n"),
        "{ran:?}"
    );
    let ran = user.rq(&["embed", "--jsonl", "--prompt", "query", "cat"]);
    let answer = lines(ran.succeeds()).remove(0);
    let tokens = answer["tokens"].as_array().unwrap().len();
    let vectors = answer["embedding"].as_array().unwrap();
    assert_eq!(
        (vectors.len(), answer["text"].as_str()),
        (tokens, Some("cat"))
    );
    assert_eq!(answer["tokens"][1], "the");
    for vector in vectors {
        let length: f32 = floats(vector).iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
    // Without their steps, one vector.
    let ran = user.rq(&["embed", "--json", "--pooling", "mean", "cat"]);
    assert!(lines(ran.succeeds())[0][0].is_number());
    user.rq(&["similar", "a cat", "a dog"])
        .fails(&["multi-vector encoder", "--pooling"]);
    user.rq(&["embed", "--out", &user.at("a.npy"), "cat"])
        .fails(&["one per token", "--jsonl"]);
}
