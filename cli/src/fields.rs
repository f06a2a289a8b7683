//! The fields of a JSON object as they are written: in their order, and with the digits of their numbers.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;

/// The field that only a line without an answer has.
const ERROR: &str = "error";

/// Names, and values as they are written, but for spaces between their parts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// The fields that a value is written with.
    pub(crate) fn of(value: &impl Serialize) -> serde_json::Result<Self> {
        serde_json::from_str(&serde_json::to_string(value)?)
    }

    /// These fields and then those of an answer, or of what there is instead of one. A field whose name these have, too, is theirs;
    /// so is `error`, which tells whether a line has an answer.
    pub(crate) fn and(&self, added: &impl Serialize) -> serde_json::Result<Self> {
        let added = Self::of(added)?;
        let is_kept = |name: &str| name != ERROR && !added.0.iter().any(|(other, _)| other == name);
        let kept = self.0.iter().filter(|(name, _)| is_kept(name)).cloned();
        Ok(Self(kept.chain(added.0.iter().cloned()).collect()))
    }
}

impl Fields {
    /// Appends a field with a text.
    pub(crate) fn push(&mut self, name: String, value: &str) -> serde_json::Result<()> {
        self.0.push((name, serde_json::value::to_raw_value(value)?));
        Ok(())
    }

    /// The names of the fields.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// The value of a field as it is written.
    fn value(&self, name: &str) -> Option<&RawValue> {
        let field = self.0.iter().find(|(other, _)| other == name);
        field.map(|(_, value)| &**value)
    }

    /// The value of a field that is a text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.value(name)
            .and_then(|value| serde_json::from_str(value.get()).ok())
    }

    /// About how many bytes the values take.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|(_, value)| value.get().len()).sum()
    }

    /// What stands in a table for a field: a text as it is, null and what isn't there as nothing, else JSON.
    pub(crate) fn cell(&self, name: &str) -> String {
        let json = self.value(name).map_or("null", RawValue::get);
        match serde_json::from_str::<Option<String>>(json) {
            Ok(text) => text.unwrap_or_default(),
            Err(_) => json.to_owned(),
        }
    }

    /// An object of these fields under other names. Those that aren't there, and all but the first that are empty texts, are left out.
    pub(crate) fn select(&self, names: &[(&'static str, String)]) -> Self {
        let mut fields = Vec::new();
        for (i, (field, name)) in names.iter().enumerate() {
            if let Some(value) = self.value(name)
                && (i == 0 || value.get() != "\"\"")
            {
                fields.push(((*field).to_owned(), value.to_owned()));
            }
        }
        Self(fields)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    fields.push((name, compact(value)));
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// A value without the spaces and line ends between its parts.
fn compact(value: Box<RawValue>) -> Box<RawValue> {
    let json = value.get();
    if !json.contains([' ', '\t', '\n', '\r']) {
        return value;
    }
    let (mut in_string, mut escaped) = (false, false);
    let mut is_part = |c: char| {
        if in_string {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            in_string = !ends;
            return true;
        }
        in_string = c == '"';
        !c.is_ascii_whitespace()
    };
    let compact: String = json.chars().filter(|&c| is_part(c)).collect();
    RawValue::from_string(compact).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn fields_stay_as_they_are_written() {
        let parse = |json: &str| serde_json::from_str::<Fields>(json);
        let given = r#" {"b" : 1.00e+2, "a": [ 12345678901234567890123 , "x \" y\\" , {"z" :null} ],
            "\u0062 \u00e9": "\u00e9 \t" , "b": -0.0}"#;
        let fields = parse(given).unwrap();
        let written = r#"{"b":1.00e+2,"a":[12345678901234567890123,"x \" y\\",{"z":null}],"b é":"\u00e9 \t","b":-0.0}"#;
        assert_eq!(serde_json::to_string(&fields).unwrap(), written);

        let added = fields
            .and(&BTreeMap::from([("b", 0.5), ("c", 1.0)]))
            .unwrap();
        let written = r#"{"a":[12345678901234567890123,"x \" y\\",{"z":null}],"b é":"\u00e9 \t","b":0.5,"c":1.0}"#;
        assert_eq!(serde_json::to_string(&added).unwrap(), written);

        let failed = parse(r#"{"error":"before","line":7,"text":""}"#).unwrap();
        let added = failed.and(&BTreeMap::from([("score", 1)])).unwrap();
        let written = r#"{"line":7,"text":"","score":1}"#;
        assert_eq!(serde_json::to_string(&added).unwrap(), written);
        assert!(parse("[1]").is_err());
    }
}
