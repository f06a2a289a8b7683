//! What a step is written with: its members, and what each may be. FORMAT.md has the same table.
//!
//! The crate `tokenizers` leaves out members that it doesn't know, doesn't look at the type of some steps, and takes an array for
//! an object. So a member that isn't here would be lost without a word, or make another step of it.

use serde::de::Error as _;
use serde_json::{Error, Value};

/// What a value may be.
#[derive(Clone, Copy)]
enum Kind {
    Boolean,
    Text,
    /// A string of one character.
    Character,
    Integer,
    /// An integer that can be a token's id.
    Id,
    /// One of these names.
    OneOf(&'static [&'static str]),
    /// An array of a string and an id.
    Token,
    /// A step of the same part.
    Step,
    ListOf(&'static Self),
    /// An object with any keys.
    MapOf(&'static Self),
    Object(&'static [Member]),
    /// An object with one of these members, as an enum of serde's is written.
    OneMember(&'static [(&'static str, Self)]),
    /// That, or null.
    OrNull(&'static Self),
}
use Kind::{
    Boolean, Character, Id, Integer, ListOf, MapOf, Object, OneMember, OneOf, OrNull, Step, Text,
    Token,
};

struct Member {
    name: &'static str,
    kind: Kind,
    /// Whether it may be absent.
    optional: bool,
}

const fn needed(name: &'static str, kind: Kind) -> Member {
    let optional = false;
    Member {
        name,
        kind,
        optional,
    }
}

const fn optional(name: &'static str, kind: Kind) -> Member {
    let optional = true;
    Member {
        name,
        kind,
        optional,
    }
}

const BEHAVIORS: Kind = OneOf(&[
    "Removed",
    "Isolated",
    "MergedWithPrevious",
    "MergedWithNext",
    "Contiguous",
]);
const BYTE_LEVEL: &[Member] = &[
    needed("add_prefix_space", Boolean),
    needed("trim_offsets", Boolean),
    optional("use_regex", Boolean),
];
const METASPACE: &[Member] = &[
    needed("replacement", Character),
    optional("prepend_scheme", OneOf(&["always", "first", "never"])),
    optional("split", OrNull(&Boolean)),
    optional("add_prefix_space", OrNull(&Boolean)),
    optional("str_rep", OrNull(&Text)),
];
const PATTERN: Kind = OneMember(&[("String", Text), ("Regex", Text)]);
const TEMPLATE: Kind = ListOf(&OneMember(&[
    (
        "Sequence",
        Object(&[needed("id", OneOf(&["A", "B"])), needed("type_id", Id)]),
    ),
    (
        "SpecialToken",
        Object(&[needed("id", Text), needed("type_id", Id)]),
    ),
]));
const SPECIAL_TOKENS: Kind = MapOf(&Object(&[
    needed("id", Text),
    needed("ids", ListOf(&Id)),
    needed("tokens", ListOf(&Text)),
]));
const STEPS: Kind = ListOf(&Step);
const REPLACE: &[Member] = &[needed("pattern", PATTERN), needed("content", Text)];

/// The members of each step beside its type, by the part that it is of.
const MEMBERS: &[(&str, &[&str], &[Member])] = &[
    (
        "normalizer",
        &["BertNormalizer"],
        &[
            needed("clean_text", Boolean),
            needed("handle_chinese_chars", Boolean),
            optional("strip_accents", OrNull(&Boolean)),
            needed("lowercase", Boolean),
        ],
    ),
    (
        "normalizer",
        &["Strip"],
        &[
            needed("strip_left", Boolean),
            needed("strip_right", Boolean),
        ],
    ),
    ("normalizer", &["Replace"], REPLACE),
    (
        "normalizer",
        &["Precompiled"],
        &[needed("precompiled_charsmap", Text)],
    ),
    (
        "normalizer",
        &[
            "Lowercase",
            "NFC",
            "NFD",
            "NFKC",
            "NFKD",
            "Nmt",
            "StripAccents",
        ],
        &[],
    ),
    ("normalizer", &["Sequence"], &[needed("normalizers", STEPS)]),
    ("pre_tokenizer", &["ByteLevel"], BYTE_LEVEL),
    ("pre_tokenizer", &["Metaspace"], METASPACE),
    (
        "pre_tokenizer",
        &["Punctuation"],
        &[optional("behavior", BEHAVIORS)],
    ),
    (
        "pre_tokenizer",
        &["Digits"],
        &[needed("individual_digits", Boolean)],
    ),
    (
        "pre_tokenizer",
        &["Split"],
        &[
            needed("pattern", PATTERN),
            needed("behavior", BEHAVIORS),
            needed("invert", Boolean),
        ],
    ),
    (
        "pre_tokenizer",
        &["BertPreTokenizer", "Whitespace", "WhitespaceSplit"],
        &[],
    ),
    (
        "pre_tokenizer",
        &["Sequence"],
        &[needed("pretokenizers", STEPS)],
    ),
    (
        "post_processor",
        &["BertProcessing"],
        &[needed("sep", Token), needed("cls", Token)],
    ),
    (
        "post_processor",
        &["RobertaProcessing"],
        &[
            needed("sep", Token),
            needed("cls", Token),
            needed("trim_offsets", Boolean),
            needed("add_prefix_space", Boolean),
        ],
    ),
    (
        "post_processor",
        &["TemplateProcessing"],
        &[
            needed("single", TEMPLATE),
            needed("pair", TEMPLATE),
            needed("special_tokens", SPECIAL_TOKENS),
        ],
    ),
    ("post_processor", &["ByteLevel"], BYTE_LEVEL),
    (
        "post_processor",
        &["Sequence"],
        &[needed("processors", STEPS)],
    ),
    ("decoder", &["ByteLevel"], BYTE_LEVEL),
    ("decoder", &["Metaspace"], METASPACE),
    ("decoder", &["Replace"], REPLACE),
    (
        "decoder",
        &["WordPiece"],
        &[needed("prefix", Text), needed("cleanup", Boolean)],
    ),
    ("decoder", &["BPEDecoder"], &[needed("suffix", Text)]),
    (
        "decoder",
        &["Strip"],
        &[
            needed("content", Character),
            needed("start", Integer),
            needed("stop", Integer),
        ],
    ),
    ("decoder", &["ByteFallback", "Fuse"], &[]),
    ("decoder", &["Sequence"], &[needed("decoders", STEPS)]),
];

/// Checks that a step has the members that it may have, and nothing else.
pub(crate) fn check(part: &str, step: &Value) -> Result<(), Error> {
    let kind = step.get("type").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| custom("a step isn't an object with a type".into()))?;
    let mut known = MEMBERS.iter();
    let found = known.find(|(of, kinds, _)| *of == part && kinds.contains(&kind));
    let (_, _, members) = found.ok_or_else(|| custom(format!("`{kind}` is no {part}")))?;
    check_object(part, kind, &[&[needed("type", Text)], members], step)
}

/// Checks that an object has these members and no others.
fn check_object(
    part: &str,
    what: &str,
    members: &[&[Member]],
    object: &Value,
) -> Result<(), Error> {
    let members = || members.iter().copied().flatten();
    let Some(object) = object.as_object() else {
        return Err(custom(format!("`{what}` isn't an object")));
    };
    for name in object.keys() {
        if !members().any(|member| member.name == name) {
            return Err(custom(format!("`{what}` has a member `{name}`")));
        }
    }
    for Member {
        name,
        kind,
        optional,
    } in members()
    {
        match object.get(*name) {
            None if *optional => {}
            None => return Err(custom(format!("`{what}` has no `{name}`"))),
            Some(value) => check_value(part, what, name, *kind, value)?,
        }
    }
    Ok(())
}

fn check_value(part: &str, what: &str, name: &str, kind: Kind, value: &Value) -> Result<(), Error> {
    let must = |holds: bool, expected: &str| match holds {
        true => Ok(()),
        false => Err(custom(format!("`{name}` of `{what}` must be {expected}"))),
    };
    let text = value.as_str();
    let list = value.as_array();
    match kind {
        OrNull(_) if value.is_null() => Ok(()),
        OrNull(kind) => check_value(part, what, name, *kind, value),
        Boolean => must(value.is_boolean(), "true or false"),
        Text => must(text.is_some(), "a string"),
        Character => must(
            text.is_some_and(|text| text.chars().count() == 1),
            "a string of one character",
        ),
        Integer => must(value.is_u64(), "an integer"),
        Id => must(is_id(value), "an integer below 2^32"),
        OneOf(names) => must(
            text.is_some_and(|text| names.contains(&text)),
            &format!("one of {}", names.join(", ")),
        ),
        ListOf(kind) => {
            must(list.is_some(), "an array")?;
            let mut values = list.into_iter().flatten();
            values.try_for_each(|value| check_value(part, what, name, *kind, value))
        }
        Token => match list.map(Vec::as_slice) {
            Some([text, id]) if text.is_string() && is_id(id) => Ok(()),
            _ => must(false, "an array of a string and an id"),
        },
        Step => check(part, value),
        OneMember(kinds) => match value
            .as_object()
            .map(|object| object.iter().collect::<Vec<_>>())
        {
            Some(only) if only.len() == 1 => match kinds.iter().find(|(kind, _)| kind == only[0].0)
            {
                Some((_, kind)) => check_value(part, what, only[0].0, *kind, only[0].1),
                None => must(false, "an object with one member of a known name"),
            },
            _ => must(false, "an object with one member"),
        },
        Object(members) => check_object(part, name, &[members], value),
        MapOf(kind) => match value.as_object() {
            Some(object) => {
                let mut values = object.iter();
                values.try_for_each(|(name, value)| check_value(part, what, name, *kind, value))
            }
            None => must(false, "an object"),
        },
    }
}

fn is_id(value: &Value) -> bool {
    value.as_u64().is_some_and(|id| u32::try_from(id).is_ok())
}

fn custom(reason: String) -> Error {
    Error::custom(reason)
}
