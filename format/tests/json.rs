//! What is JSON to the reader, and how its parts are written: FORMAT.md's section on JSON, rule by rule.

use crate::common::*;
use rq_format::{ConfigError, FormatError, ProvenanceError, Section};

/// The tiny model with another provenance.
fn with_provenance(change: impl Fn(String) -> String) -> Edit {
    let good = edit();
    let json = change(String::from_utf8(good.content(2).to_vec()).unwrap());
    Edit(assemble(
        good.content(1),
        json.as_bytes(),
        good.content(3),
        &specs(&config()),
    ))
}

/// The tiny model with another configuration, of any bytes.
fn with_config_bytes(change: impl Fn(&mut Vec<u8>)) -> Edit {
    let good = edit();
    let mut json = good.content(1).to_vec();
    change(&mut json);
    Edit(assemble(
        &json,
        good.content(2),
        good.content(3),
        &specs(&config()),
    ))
}

fn no_json(edit: &Edit, section: Section) {
    refused!(edit, FormatError::Json { section: s, .. } if *s == section);
}

/// Asserts that a configuration with this in the place of that is no JSON, or not that of a configuration.
#[track_caller]
fn no_config(from: &str, to: &str) {
    let changed = with_config(|json| {
        assert!(json.contains(from), "{from}");
        json.replacen(from, to, 1)
    });
    no_json(&changed, Section::Config);
}

/// Asserts that a configuration with this in the place of that is one.
#[track_caller]
fn a_config(from: &str, to: &str) {
    let changed = with_config(|json| {
        assert!(json.contains(from), "{from}");
        json.replacen(from, to, 1)
    });
    read_all(&changed.0).unwrap();
}

const SENTENCES: (&str, &str) = ("\"head\":\"masked_lm\"", "\"head\":\"none\",\"pooling\":");

#[test]
fn an_object_is_an_object() {
    no_json(&with_config(|json| format!("[{json}]")), Section::Config);
    no_json(
        &with_provenance(|_| {
            let hash = "0".repeat(64);
            format!(r#"["x",null,[{{"file":"f","sha256":"{hash}","bytes":1}}],"x",{{}}]"#)
        }),
        Section::Provenance,
    );
    no_json(
        &with_provenance(|json| {
            let start = json.find("{\"file\"").unwrap();
            let end = json.find('}').unwrap() + 1;
            let hash = "0".repeat(64);
            json.replace(&json[start..end], &format!("[\"f\",\"{hash}\",1]"))
        }),
        Section::Provenance,
    );
    no_json(
        &with_provenance(|json| json.replace("{\"words\":\"q8\"}", "[[\"words\",\"q8\"]]")),
        Section::Provenance,
    );
    let (from, to) = SENTENCES;
    no_config(from, &format!("{to}[[\"mean\"],true,[],{{}}]"));
    let pooling = |layer: &str| {
        format!(
            "{to}{{\"modes\":[\"mean\"],\"include_prompt\":true,\"layers\":[{layer}],\"prompts\":{{}}}}"
        )
    };
    no_config(from, &pooling(r#"{"dense":[8,false,"tanh"]}"#));
    no_config(
        "\"labels\":[]",
        r#""labels":[],"sparse_pooling":["max","relu",null,{}]"#,
    );
}

#[test]
fn a_name_is_a_string() {
    for (from, to) in [
        ("\"roberta\"", "{\"roberta\":null}"),
        ("\"masked_lm\"", "{\"masked_lm\":null}"),
        ("\"gelu\"", "{\"gelu\":null}"),
        ("\"gelu\"", "0"),
        ("\"gelu\"", "null"),
    ] {
        no_config(from, to);
    }
    let (from, to) = SENTENCES;
    for layer in ["{\"normalize\":null}", "\"dense\"", "{}"] {
        no_config(
            from,
            &format!(
                "{to}{{\"modes\":[\"mean\"],\"include_prompt\":true,\"layers\":[{layer}],\"prompts\":{{}}}}"
            ),
        );
    }
}

#[test]
fn an_integer_has_neither_fraction_nor_exponent() {
    for number in [
        "20.0",
        "2e1",
        "20e0",
        "-20",
        "-0",
        "020",
        "+20",
        "0x14",
        "2_0",
        "\"20\"",
        "true",
        "20.",
        ".2",
        "NaN",
        "Infinity",
        "18446744073709551616",
        "1e400",
    ] {
        no_config("\"vocab_size\":20", &format!("\"vocab_size\":{number}"));
    }
    // An integer as any other, and then too large for what it is.
    for number in ["9007199254740993", "18446744073709551615"] {
        let large = with_config(|json| {
            json.replace("\"vocab_size\":20", &format!("\"vocab_size\":{number}"))
        });
        refused!(
            large,
            FormatError::Config(ConfigError::Range { field: "vocab_size", found, .. })
                if found.to_string() == number
        );
    }
    no_config("\"pad_token_id\":1", "\"pad_token_id\":4294967296");
    // A number may have both, or neither.
    for number in [
        "1",
        "1.0",
        "1e-5",
        "0.1E-4",
        "1.00000000000000000000000001E-2",
    ] {
        a_config(
            "\"layer_norm_eps\":0.00001",
            &format!("\"layer_norm_eps\":{number}"),
        );
    }
    for number in ["1e400", "-1e400", "1.", "01.5"] {
        no_config(
            "\"layer_norm_eps\":0.00001",
            &format!("\"layer_norm_eps\":{number}"),
        );
    }
    for number in ["0", "-0", "-0.0", "-1", "1e-400"] {
        let bad = with_config(|json| {
            json.replace(
                "\"layer_norm_eps\":0.00001",
                &format!("\"layer_norm_eps\":{number}"),
            )
        });
        refused!(bad, FormatError::Config(ConfigError::LayerNormEps { .. }));
    }
}

#[test]
fn keys_are_unique() {
    no_config("\"head\"", "\"architecture\":\"roberta\",\"head\"");
    // The same key in other words.
    no_config("\"head\"", "\"architectur\\u0065\":\"roberta\",\"head\"");
    no_config(
        "\"unk_token_id\":3",
        "\"unk_token_id\":3,\"unk_token_id\":null",
    );
    let prompts = r#"{"a":"x","a":"x"}"#;
    let (from, to) = SENTENCES;
    no_config(
        from,
        &format!(
            "{to}{{\"modes\":[\"mean\"],\"include_prompt\":true,\"layers\":[],\"prompts\":{prompts}}}"
        ),
    );
    no_config(
        "\"labels\":[]",
        &format!(
            "\"labels\":[],\"sparse_pooling\":{{\"mode\":\"max\",\"activation\":\"relu\",\"prompts\":{prompts}}}"
        ),
    );
    for (from, to) in [
        ("\"source\"", "\"converter\":\"by hand\",\"source\""),
        ("\"bytes\"", "\"bytes\":1,\"bytes\""),
        ("\"words\":\"q8\"", "\"words\":\"q8\",\"words\":\"q4\""),
    ] {
        no_json(
            &with_provenance(|json| json.replacen(from, to, 1)),
            Section::Provenance,
        );
    }
}

#[test]
fn members_are_those_of_the_tables() {
    no_config("\"head\"", "\"Head\":\"none\",\"head\"");
    no_config("\"labels\":[],", "");
    no_config("\"labels\":[]", "\"labels\":null");
    a_config("\"unk_token_id\":3,", "");
    a_config(
        "\"unk_token_id\":3",
        "\"unk_token_id\":null,\"max_seq_length\":null,\"pooling\":null",
    );
    no_config("\"labels\":[]", "\"labels\":[],\"truncation_side\":null");
    no_config("\"labels\":[]", "\"labels\":[],\"clean_up_spaces\":null");
    for (from, to) in [
        ("\"source\"", "\"date\":\"\",\"source\""),
        ("\"bytes\"", "\"mtime\":1,\"bytes\""),
        (",\"bytes\":1234", ""),
        ("\"words\":\"q8\"", "\"words\":8"),
    ] {
        no_json(
            &with_provenance(|json| json.replacen(from, to, 1)),
            Section::Provenance,
        );
    }
}

#[test]
fn the_text_is_json_in_utf_8_and_nothing_else() {
    for (from, to) in [
        ("{\"architecture\"", "\u{feff}{\"architecture\""),
        ("{\"architecture\"", "/* */{\"architecture\""),
        ("\"q4\"}", "\"q4\",}"),
        ("\"q4\"}", "'q4'}"),
        ("\"q4\"}", "\"q4\"}x"),
        ("\"q4\"}", "\"q4\"}{}"),
        ("\"q4\"}", "\"q4\"}\0"),
        ("\"q4\"}", "\"q4\""),
        ("\"head\"", "\u{a0}\"head\""),
        ("\"head\"", "\u{c}\"head\""),
    ] {
        no_config(from, to);
    }
    a_config("{\"architecture\"", " \t\r\n{ \"architecture\"");
    a_config("\"q4\"}", "\"q4\"} \n\t\r");
    for byte in [0x80, 0xc0, 0xff] {
        let bad = with_config_bytes(|json| {
            let at = json.len() - 3;
            json[at] = byte;
        });
        no_json(&bad, Section::Config);
    }
    // A surrogate, encoded as if it were a character.
    let bad = with_config_bytes(|json| {
        let at = json.len() - 3;
        json.splice(at..at, [0xed, 0xa0, 0x80]);
    });
    no_json(&bad, Section::Config);
    let deep = "[".repeat(200) + &"]".repeat(200);
    no_config("\"labels\":[]", &format!("\"labels\":{deep}"));
}

#[test]
fn strings_hold_characters() {
    let source = |text: &str| with_provenance(|json| json.replacen("tiny", text, 1));
    for bad in [
        "\\ud800",
        "\\ud800x",
        "\\udc00",
        "\\udc00\\ud800",
        "\\u12",
        "\\x41",
        "\\",
        "\n",
        "\u{0}",
    ] {
        no_json(&source(bad), Section::Provenance);
    }
    for good in ["\\ud83e\\udd80", "\\u00e9\\/\\\"", "é 🦀", "\u{a0}\u{2028}"] {
        read_all(&source(good).0).unwrap();
    }
}

#[test]
fn what_is_shown_has_no_control_characters() {
    for control in [
        "\\u0000",
        "\\n",
        "\\u001b[2J",
        "\\u007f",
        "\u{7f}",
        "\u{9b}1m",
        "\\u0085",
    ] {
        for (field, from, to) in [
            ("source", "tiny", format!("a{control}b")),
            (
                "revision",
                "\"revision\":null",
                format!("\"revision\":\"{control}\""),
            ),
            (
                "file",
                "model.safetensors",
                format!("{control}.safetensors"),
            ),
            ("converter", "by hand", format!("by{control}hand")),
            ("quantization", "\"words\":", format!("\"wor{control}ds\":")),
            ("quantization", "\"q8\"", format!("\"q8{control}\"")),
        ] {
            let bad = with_provenance(|json| {
                assert!(json.contains(from));
                json.replacen(from, &to, 1)
            });
            refused!(
                bad,
                FormatError::Provenance(ProvenanceError::Control { field: f, .. }) if *f == field
            );
        }
    }
}
