//! JSON of bounded size: what has more values than it can need is refused while it is read, before it fills the memory.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads a value with a limit on the number of values in all.
pub(crate) struct Bounded<'a> {
    left: &'a Cell<usize>,
}

impl<'a> Bounded<'a> {
    /// `left` counts down with every value that is read.
    pub(crate) fn new(left: &'a Cell<usize>) -> Self {
        Self { left }
    }

    fn count<E: Error>(&self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| E::custom("there are far too many values in it"))?;
        self.left.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Bounded::new(self.left))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = items.next_key::<String>()? {
            fields.insert(name, items.next_value_seed(Bounded::new(self.left))?);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, most: usize) -> Result<Value, serde_json::Error> {
        Bounded::new(&Cell::new(most)).deserialize(&mut serde_json::Deserializer::from_str(text))
    }

    #[test]
    fn what_is_within_the_bound_is_read_as_it_is() {
        let text = r#"{"a": [1, -2, 3.5, null, true, "x"], "b": {"c": []}}"#;
        assert_eq!(read(text, 10).expect("ten values"), serde_json::from_str::<Value>(text).expect("JSON"));
        assert!(read(text, 9).expect_err("nine are too few").to_string().contains("too many"));
    }
}
