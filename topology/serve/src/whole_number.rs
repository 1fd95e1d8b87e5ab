//! Whole numbers of a JSON body: 3 and, as JSON Schema has it, 3.0.

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Number;

/// A whole number that fits, or none.
pub(crate) fn whole_number<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<Number>::deserialize(deserializer)? else { return Ok(None) };
    // From 2^53 on each float is whole; those from 2^64 on fit nowhere.
    let whole = |float: f64| {
        (float.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(&float)).then_some(float as u64)
    };
    let found = number.as_u64().or_else(|| number.as_f64().and_then(whole)).and_then(|whole| T::try_from(whole).ok());
    found.map(Some).ok_or_else(|| D::Error::custom(format!("expected a whole number from 0 on, found {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Seed {
        #[serde(default, deserialize_with = "whole_number")]
        seed: Option<u64>,
    }

    #[test]
    fn a_float_without_a_fraction_is_a_whole_number_and_none_other() {
        let seed = |json: &str| serde_json::from_str::<Seed>(json).map(|order| order.seed).ok();
        assert_eq!(seed("{}"), Some(None));
        assert_eq!(seed(r#"{"seed":null}"#), Some(None));
        assert_eq!(seed(r#"{"seed":3.0}"#), Some(Some(3)));
        assert_eq!(seed(r#"{"seed":18446744073709551615}"#), Some(Some(u64::MAX)));
        for wrong in ["-1", "2.5", "18446744073709551616", "1e300", "\"7\""] {
            assert_eq!(seed(&format!(r#"{{"seed":{wrong}}}"#)), None, "{wrong}");
        }
    }
}
