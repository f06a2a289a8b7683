//! `rq classify` and `rq tag`.

use crate::common::{User, data, tests_path};
use serde_json::{Value, json};

/// A user with these models of `data/tasks`.
fn user(models: &[&str]) -> User {
    let user = User::new();
    for model in models {
        let output = user.at(&format!("{model}.rq"));
        user.rq(&["convert", &data(&format!("tasks/{model}")), "-o", &output]);
    }
    user
}

fn lines(stdout: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap();
    stdout.lines().map(parse).collect()
}

/// The lines without their numbers, which may be others in fp32.
fn without_digits(stdout: &str) -> Vec<String> {
    let dots = |line: &str| line.replace(|c: char| c.is_ascii_digit(), ".");
    stdout.lines().map(dots).collect()
}

#[test]
fn classes_for_a_person() {
    let user = user(&["topics", "nli"]);
    let ran = user.rq(&[
        "classify",
        "-m",
        "topics.rq",
        "-k",
        "2",
        "The team won the match with a late goal.",
        "Add butter and salt to the soup.",
    ]);
    let bar = "█".repeat(19) + "▊";
    assert_eq!(
        without_digits(ran.succeeds()),
        [
            "The team won the match with a late goal.".to_owned(),
            format!("  sports    ..... %  {bar}"),
            "  cooking    .... %  ▏".to_owned(),
            String::new(),
            "Add butter and salt to the soup.".to_owned(),
            format!("  cooking   ..... %  {bar}"),
            "  money      .... %  ▏".to_owned(),
        ]
    );
    let ran = user.rq(&[
        "classify",
        "-m",
        "nli.rq",
        "-k1",
        "A man is sleeping in the park.",
        "--pair",
        "The man is running.",
    ]);
    assert_eq!(
        without_digits(ran.succeeds()),
        [
            "A man is sleeping in the park.",
            "The man is running.",
            &format!("  CONTRADICTION   ..... %  {bar}"),
        ]
    );
}

#[test]
fn classes_as_json_and_a_wrong_line() {
    let user = user(&["nli"]);
    let input = "{\"text\": \"A man is sleeping in the park.\", \"pair\": \"The man is running.\", \"id\": 1}\n\
                 {\"pair\": \"no text\"}\n\
                 A man is sleeping in the park.\n";
    let classify = ["classify", "-m", "nli.rq", "--pair", "The man is sleeping."];
    let jsonl = user.rq_with(&[&classify[..], &["--jsonl"]].concat(), input.as_bytes());
    assert_eq!(jsonl.code, Some(1));
    assert_eq!(jsonl.stderr, "rq: 1 of 3 texts could not be processed\n");
    let found = lines(&jsonl.stdout);
    assert_eq!(found[0]["pair"], "The man is running.");
    assert_eq!(found[0]["labels"][0]["label"], "CONTRADICTION");
    assert_eq!(
        (&found[1]["line"], found[1]["error"].is_string()),
        (&json!(2), true)
    );
    assert_eq!(found[2]["text"], "A man is sleeping in the park.");
    assert_eq!(found[2]["labels"][0]["label"], "ENTAILMENT");
    assert_eq!(found[2]["labels"].as_array().unwrap().len(), 3);

    let text = "A man is sleeping in the park.";
    let list = user.rq(&[&classify[..], &["--json", text]].concat());
    assert_eq!(lines(list.succeeds()), [found[2]["labels"].clone()]);
    let logits = user.rq(&[&classify[..], &["--json", "--function", "none", text]].concat());
    assert!(lines(logits.succeeds())[0][0]["score"].as_f64().unwrap() > 1.0);
}

#[test]
fn labels_of_ones_own() {
    let user = user(&["nli", "topics"]);
    let text = "The team won the match with a late goal.";
    let template = "This text is about {}.";
    let classify = ["classify", "-m", "nli.rq", "--template", template, text];
    let labels = ["--labels", "cooking, sports,", "-l", "weather"];
    let ran = user.rq(&[&classify[..], &labels, &["--json", "-k2"]].concat());
    let found = lines(ran.succeeds());
    assert_eq!(found[0]["sequence"], text);
    assert_eq!(found[0]["labels"].as_array().unwrap().len(), 2);
    assert_eq!(found[0]["labels"][0], "sports");
    let ran = user.rq(&[&classify[..], &labels, &["--jsonl", "--multi-label"]].concat());
    let found = lines(ran.succeeds());
    assert_eq!(found[0]["labels"].as_array().unwrap().len(), 3);
    assert_eq!(found[0]["labels"][0]["label"], "sports");
    let ran = user.rq(&[&classify[..], &labels].concat());
    assert!(ran.succeeds().contains("\n  sports   "), "{ran:?}");

    let refused: [(&[&str], &[&str]); 5] = [
        (&["--labels", " , "], &["no label to choose from"]),
        (&["--labels", "a", "--template", "a"], &["\"a\" has no {}"]),
        (&["--template", "{}"], &["--labels"]),
        (&["--labels", "a", "--pair", "b"], &["--labels", "--pair"]),
        (
            &["--labels", "a", "--function", "none"],
            &["--labels", "--function"],
        ),
    ];
    for (arguments, parts) in refused {
        let classify = ["classify", "-m", "nli.rq", text];
        user.rq(&[&classify[..], arguments].concat()).fails(parts);
    }
    // A model of something else is refused, unless one of its labels is said to mean it.
    let topics = ["classify", "-m", "topics.rq", text, "--labels", "a,b"];
    user.rq(&topics).fails(&[
        "none of its labels, sports, cooking, weather, money,",
        "--entailment-label",
    ]);
    let named = |label| user.rq(&[&topics[..], &["--entailment-label", label]].concat());
    named("Sports").succeeds();
    named("rugby").fails(&["--entailment-label rugby", "it has sports, cooking"]);
    let nli = ["--labels", "a,b", "--template", template, "--json", text];
    let named = |label| {
        let how = ["classify", "-m", "nli.rq", "--entailment-label", label];
        user.rq(&[&how[..], &nli].concat()).succeeds().to_owned()
    };
    let unnamed = user.rq(&[&["classify", "-m", "nli.rq"], &nli[..]].concat());
    assert_eq!(named("entailment"), unnamed.succeeds());
    assert_ne!(named("CONTRADICTION"), unnamed.stdout);
}

#[test]
fn passages_are_ranked() {
    let user = user(&["relevance", "nli"]);
    let passages = [
        "It rained.",
        "The cost of apples depends on the season.",
        "Nobody was there.",
        "The cost of apples depends on the season.",
    ];
    let rank = [
        "classify",
        "-m",
        "relevance.rq",
        "--query",
        "price of apples",
    ];
    let texts = |stdout: &str| -> Vec<String> {
        let text = |line: Value| line["text"].as_str().unwrap().to_owned();
        lines(stdout).into_iter().map(text).collect()
    };
    let ran = user.rq(&[&rank[..], &["--json"], &passages].concat());
    let ranked = texts(ran.succeeds());
    assert_eq!(ranked[..2], [passages[1], passages[3]]);
    let shown = user.rq(&[&rank[..], &passages].concat());
    let shown: Vec<&str> = shown
        .succeeds()
        .lines()
        .map(|line| &line[line.len() - 9..])
        .collect();
    let ends: Vec<&str> = ranked.iter().map(|text| &text[text.len() - 9..]).collect();
    assert_eq!(shown, ends);

    // Lines are in their order, but for the best ones.
    let input = passages.join("\n");
    let ran = user.rq_with(&[&rank[..], &["--jsonl"]].concat(), input.as_bytes());
    assert_eq!(texts(ran.succeeds()), passages);
    let best = user.rq_with(&[&rank[..], &["--jsonl", "-k3"]].concat(), input.as_bytes());
    assert_eq!(texts(best.succeeds()), ranked[..3]);
    // In any number of batches.
    let many = format!(
        "{}{}\n",
        format!("{}\n", passages[0]).repeat(1000),
        passages[1]
    );
    let best = user.rq_with(&[&rank[..], &["--jsonl", "-k2"]].concat(), many.as_bytes());
    assert_eq!(texts(best.succeeds()), [passages[1], passages[0]]);

    let logits = user.rq(&[&rank[..], &["--function", "none"], &passages].concat());
    assert!(!logits.succeeds().contains('%'), "{logits:?}");
    user.rq(&["classify", "-m", "nli.rq", "--query", "a", "b"])
        .fails(&["--query needs a model with one label", "has 3"]);
}

#[test]
fn entities_for_a_person_and_as_json() {
    let user = user(&["tags"]);
    let tag = ["tag", "-m", "tags.rq"];
    let text = "Anna Smith lives in New York.";
    let ran = user.rq(&[&tag[..], &[text, "."]].concat());
    let expected = [
        text,
        "  Anna Smith  PER   98... %   0-10",
        "  New York    LOC   98... %  20-28",
        "",
        ".",
        "  nothing found",
    ];
    let found = ran.succeeds().lines().map(|line| match line.find('%') {
        Some(percent) => format!("{}.. {}", &line[..percent - 3], &line[percent..]),
        None => line.to_owned(),
    });
    assert_eq!(found.collect::<Vec<_>>(), expected);

    let ran = user.rq(&[&tag[..], &["--json", text]].concat());
    let list = lines(ran.succeeds());
    let entity = &list[0][1];
    let keys: Vec<&String> = entity.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 5);
    assert_eq!(
        (&entity["entity_group"], &entity["word"]),
        (&json!("LOC"), &json!(" New York"))
    );
    assert_eq!((&entity["start"], &entity["end"]), (&json!(20), &json!(28)));

    let input = format!("{{\"text\": \"{text}\"}}\n{{\"text\": 7}}\n\n");
    let ran = user.rq_with(&[&tag[..], &["--jsonl"]].concat(), input.as_bytes());
    assert_eq!(ran.code, Some(1));
    let found = lines(&ran.stdout);
    assert_eq!(found[0], json!({"text": text, "entities": list[0]}));
    assert_eq!(found[1]["line"], 2);
    assert_eq!(found[2], json!({"text": "", "entities": []}));

    let ran = user.rq(&[
        &tag[..],
        &["--json", "-a", "none", "--ignore-labels", "O,B-PER", text],
    ]
    .concat());
    let token = &lines(ran.succeeds())[0][0];
    assert_eq!(
        (&token["entity"], &token["index"]),
        (&json!("I-PER"), &json!(2))
    );
}

#[test]
fn long_texts_are_tagged_whole_and_classified_on_request() {
    let user = user(&["tags", "topics"]);
    let long = "Peter Okafor works for Acme in Oslo. ".repeat(50);
    for more in [&[][..], &["--stride", "16"]] {
        let ran = user.rq(&[&["tag", "-m", "tags.rq", "--json", &long], more].concat());
        let last = lines(ran.succeeds())[0]
            .as_array()
            .unwrap()
            .last()
            .unwrap()
            .clone();
        assert!(
            last["end"].as_u64().unwrap() as usize > long.len() - 10,
            "{last}"
        );
    }
    let classify = ["classify", "-m", "topics.rq", &long];
    user.rq(&classify).fails(&["at most 128", "--truncate"]);
    let truncated = user.rq(&[&classify[..], &["--truncate"]].concat());
    truncated.succeeds();
}

#[test]
fn what_cant_be_done_is_said_before_a_text_is_read() {
    let user = user(&["tags"]);
    let refused: [(&[&str], &[&str]); 5] = [
        (
            &["tag", "-m", "tags.rq", "--stride", "126"],
            &["no room", "overlap of 126"],
        ),
        (
            &["tag", "-m", "tags.rq", "-a", "none", "--stride", "1"],
            &["needs an aggregation"],
        ),
        (
            &["tag", "-m", "tags.rq", "-a", "last"],
            &["[possible values: none, simple, first, average, max]"],
        ),
        (
            &["tag", "-m", "tags.rq", "--stride", "-1"],
            &["'--stride <TOKENS>'"],
        ),
        (&["classify", "-m", "tags.rq"], &["is for `rq tag`"]),
    ];
    for (arguments, parts) in refused {
        user.rq_with(arguments, b"a\n").fails(parts);
    }
    #[cfg(feature = "demo-model")]
    for command in ["tag", "classify"] {
        user.rq(&[command, "a"])
            .fails(&["no model was named", "is for `rq fill`"]);
    }
}

/// Texts that are divided into words: a label for each.
#[test]
fn words_have_a_label_each() {
    let user = User::new();
    let model = user.at("tagger.rq");
    let tagger = tests_path("goldens/architectures/bert-tagger");
    user.rq(&["convert", tagger.to_str().unwrap(), "-o", &model])
        .succeeds();
    let user = user.set("RQ_MODEL", model);
    let words = r#"["Anna", "", "lives\there"]"#;
    let ran = user.rq(&["tag", "--words", "--json", words]);
    let tags: Value = serde_json::from_str(ran.succeeds()).unwrap();
    assert_eq!(tags.as_array().unwrap().len(), 3);
    assert_eq!(
        (&tags[0]["word"], &tags[1]),
        (
            &json!("Anna"),
            &json!({"word": "", "label": null, "score": null})
        )
    );
    let (label, score) = (
        tags[0]["label"].as_str().unwrap(),
        tags[0]["score"].as_f64().unwrap(),
    );
    let ran = user.rq(&["tag", "--words", words, "[]"]);
    let blocks: Vec<&str> = ran.succeeds().split("\n\n").collect();
    let rows: Vec<&str> = blocks[0].lines().collect();
    assert_eq!((rows.len(), blocks[1]), (3, "no words\n"));
    assert_eq!(
        rows[0],
        format!("Anna         {label:5}  {:6.2} %", 100.0 * score)
    );
    assert_eq!(rows[1], "             -");
    assert!(rows[2].starts_with(r"lives\there  "), "{rows:?}");

    // Lines, of which one is wrong.
    let lines = format!("{{\"words\": {words}, \"id\": 3}}\n{words}\nAnna\n");
    let ran = user.rq_with(&["tag", "--words", "--jsonl"], lines.as_bytes());
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let answers: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let words: Value = serde_json::from_str(words).unwrap();
    let column = |name: &str| -> Value {
        tags.as_array()
            .unwrap()
            .iter()
            .map(|tag| tag[name].clone())
            .collect()
    };
    let expected = json!({"words": words, "labels": column("label"), "scores": column("score")});
    let mut first = expected.clone();
    first["id"] = json!(3);
    assert_eq!(answers[..2], [first, expected]);
    assert!(
        answers[2]["error"].as_str().unwrap().contains("JSON array"),
        "{ran:?}"
    );
    user.rq(&["tag", "--words", "--stride", "3", "[]"])
        .fails(&["--words", "cannot be used with"]);
}
