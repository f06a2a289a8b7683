//! JSON as FORMAT.md has it: one way to write each thing.
//!
//! The types that serde derives read more than they write: an array in the place of an object, an object with a null in the
//! place of a name, and of equal keys of a map the last. Here an object is an object, a name is a string, and keys are unique.
//! The rest is `serde_json`'s.

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use std::collections::HashSet;
use std::fmt;

/// Reads a value from the bytes of a JSON text.
///
/// A type that reads an object without saying so first (by `deserialize_any`) looks for equal keys itself.
///
/// # Errors
/// When the text isn't JSON, or not that of the type.
pub fn from_slice<'de, T: Deserialize<'de>>(json: &'de [u8]) -> serde_json::Result<T> {
    whole(serde_json::Deserializer::from_slice(json))
}

/// As [`from_slice`], of a text that is known to be UTF-8.
///
/// # Errors
/// As [`from_slice`].
pub fn from_str<'de, T: Deserialize<'de>>(json: &'de str) -> serde_json::Result<T> {
    whole(serde_json::Deserializer::from_str(json))
}

fn whole<'de, T: Deserialize<'de>>(
    mut json: serde_json::Deserializer<impl serde_json::de::Read<'de>>,
) -> serde_json::Result<T> {
    let value = T::deserialize(Strict(&mut json))?;
    json.end()?;
    Ok(value)
}

/// Any value, which is read to be sure that it is JSON and that keys are unique in each of its objects, and then dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnyValue;

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self, A::Error> {
        let mut map = UniqueKeys::of(map);
        while map.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// A part of a deserializer that is as strict as this module says, and so are those that come from it.
struct Strict<T>(T);

/// Hands a request for a simple value on.
macro_rules! deserialize {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            self.0.$method(Strict(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    deserialize! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char deserialize_str
        deserialize_string deserialize_bytes deserialize_byte_buf deserialize_option deserialize_unit deserialize_seq
        deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, Strict(visitor))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Strict(visitor))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(len, Strict(visitor))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, len, Strict(visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Unique(Strict(visitor)))
    }

    /// Of an object alone; the type itself finds fields that are there twice.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Strict(visitor))
    }

    /// A string names a variant without content, an object one with content.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(Variant(visitor))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(deserializer))
    }
}

/// Hands a simple value on.
macro_rules! visit {
    ($($method:ident: $type:ty,)*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    visit! {
        visit_bool: bool,
        visit_i64: i64,
        visit_u64: u64,
        visit_f64: f64,
        visit_str: &str,
        visit_borrowed_str: &'de str,
        visit_string: String,
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(deserializer))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Strict(seq))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Strict(map))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Strict(seed))
    }
}

/// Visits an object with its keys checked.
struct Unique<V>(V);

impl<'de, V: Visitor<'de>> Visitor<'de> for Unique<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(UniqueKeys::of(map))
    }
}

/// The members of an object, whose keys are unique.
struct UniqueKeys<A> {
    map: A,
    seen: HashSet<String>,
}

impl<A> UniqueKeys<A> {
    fn of(map: A) -> Self {
        let seen = HashSet::new();
        Self { map, seen }
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for UniqueKeys<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let Some(key) = self.map.next_key::<String>()? else {
            return Ok(None);
        };
        let value = seed.deserialize(StrDeserializer::new(&key))?;
        if self.seen.contains(&key) {
            return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
        }
        self.seen.insert(key);
        Ok(Some(value))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// A variant, as a string or as an object of one member.
struct Variant<T>(T);

impl<'de, V: Visitor<'de>> Visitor<'de> for Variant<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<V::Value, E> {
        self.0.visit_enum(StrDeserializer::new(name))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Variant(MapAccessDeserializer::new(map)))
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Variant<A> {
    type Error = A::Error;
    type Variant = Variant<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (name, content) = self.0.variant_seed(seed)?;
        Ok((name, Variant(content)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Variant<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        Err(A::Error::custom("an object where a string names this"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Strict(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Strict(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Strict(visitor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Point {
        x: u32,
        names: Option<BTreeMap<String, String>>,
        #[serde(default)]
        shapes: Vec<Shape>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Shape {
        Round,
        Square(Box<Point>),
        Long { by: u32 },
    }

    fn point(json: &str) -> Result<Point, String> {
        from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn each_thing_is_written_in_one_way() {
        let json = r#"{"x": 1, "names": {"a": "b", "c": "b"}, "shapes": ["round", {"square": {"x": 2}}, {"long": {"by": 3}}]}"#;
        let found = point(json).unwrap();
        assert_eq!(found.shapes[0], Shape::Round);
        assert_eq!(found.shapes[2], Shape::Long { by: 3 });
        assert_eq!(found.names.map(|names| names.len()), Some(2));
        assert_eq!(from_slice::<Point>(json.as_bytes()).unwrap().x, 1);
        for (json, reason) in [
            ("[1, null, []]", "invalid type: sequence"),
            (
                r#"{"x": 1, "shapes": [{"square": [1, null]}]}"#,
                "invalid type: sequence",
            ),
            (
                r#"{"x": 1, "shapes": [{"long": [1]}]}"#,
                "invalid type: sequence",
            ),
            (
                r#"{"x": 1, "shapes": [{"round": null}]}"#,
                "an object where a string",
            ),
            (
                r#"{"x": 1, "shapes": [{"long": {"by": 1}, "round": null}]}"#,
                "trailing",
            ),
            (r#"{"x": 1, "shapes": ["square"]}"#, "unit variant"),
            (
                r#"{"x": 1, "names": {"a": "b", "a": "b"}}"#,
                "duplicate key \"a\"",
            ),
            (
                r#"{"x": 1, "names": [["a", "b"]]}"#,
                "invalid type: sequence",
            ),
            (r#"{"x": 1, "x": 1}"#, "duplicate field `x`"),
            (r#"{"x": 1, "\u0078": 1}"#, "duplicate field `x`"),
            (r#"{"x": 1} 1"#, "trailing characters"),
        ] {
            let found = point(json).unwrap_err();
            assert!(found.contains(reason), "{json}: {found}");
        }
    }

    #[test]
    fn values_that_are_dropped_are_checked() {
        let any = |json: &str| from_str::<AnyValue>(json).map_err(|error| error.to_string());
        for json in ["null", r#"[1, -1, 1.5, true, "a\n", {}, {"a": {"a": []}}]"#] {
            assert_eq!(any(json), Ok(AnyValue));
        }
        for json in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": 1, "\u0061": 1}}]"#] {
            assert!(any(json).unwrap_err().contains("duplicate key \"a\""));
        }
        for json in [
            "\"\\ud800\"",
            "01",
            "[1,]",
            "\"\n\"",
            "\u{feff}1",
            "1e999",
            "NaN",
        ] {
            assert!(any(json).is_err(), "{json}");
        }
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(any(&nested(127)), Ok(AnyValue));
        assert!(any(&nested(128)).unwrap_err().contains("recursion limit"));
    }
}
