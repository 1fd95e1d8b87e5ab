//! Fields of JSON configs: read, checked, and warned of where they are unknown.

use std::{collections::BTreeSet, fmt, path::PathBuf};

use serde_json::{Map, Value};

use super::{Checkpoint, foreign_file};
use crate::{
    error::{ModelError, Result},
    foreign_text::shown,
    text::decode_json,
};

/// Unknown fields of an object that are warned of; further ones say nothing new.
const MOST_WARNINGS: usize = 10;

/// A JSON object whose fields are taken one by one; what is left at the end is unknown.
#[derive(Debug)]
pub struct Json {
    path: PathBuf,
    prefix: String,
    fields: Map<String, Value>,
    taken: BTreeSet<String>,
}

impl Json {
    /// Reads the object in `file`.
    ///
    /// # Errors
    /// When the file is missing, is not JSON, or is not an object.
    pub fn read(checkpoint: &Checkpoint, file: &str) -> Result<Self> {
        let path = checkpoint.path_of(file);
        let bytes = checkpoint.file(file)?;
        let damaged = |reason: String| ModelError::Damaged {
            path: path.clone(),
            reason,
            remedy: "Restore the file that came with the checkpoint".to_owned(),
        };
        match decode_json(&bytes) {
            Ok(Value::Object(fields)) => Ok(Self { path, prefix: String::new(), fields, taken: BTreeSet::new() }),
            Ok(other) => Err(damaged(format!("expected a JSON object, found {}", kind(&other)))),
            Err(reason) => Err(match foreign_file(&bytes) {
                Some(kind) => ModelError::Foreign { path: path.clone(), what: kind.what, remedy: kind.remedy },
                None => damaged(format!("it is {}", shown(&reason))),
            }),
        }
    }

    /// The fields of an object that was read before: `prefix` are the names on the way to it, each with a dot.
    pub(crate) fn of(path: PathBuf, prefix: &str, fields: Map<String, Value>) -> Self {
        Self { path, prefix: prefix.to_owned(), fields, taken: BTreeSet::new() }
    }

    /// The nested object `value`, which is called `name` in messages.
    ///
    /// # Errors
    /// When it is no object.
    pub(crate) fn nested(&self, name: &str, value: Value) -> Result<Self> {
        match value {
            Value::Object(fields) => Ok(Self::of(self.path.clone(), &format!("{}{name}.", self.prefix), fields)),
            other => Err(self.wrong(name, "an object", &other)),
        }
    }

    /// The list in `name`; empty when the field is not there.
    ///
    /// # Errors
    /// When the field is no list of at most `most` entries.
    pub(crate) fn list(&mut self, name: &str, most: usize) -> Result<Vec<Value>> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() <= most => Ok(items),
            Some(Value::Array(items)) => {
                Err(self.wrong(name, format!("a list of at most {most} entries"), format!("one of {}", items.len())))
            }
            Some(other) => Err(self.wrong(name, "a list", &other)),
        }
    }

    /// The value of the field `name`.
    pub(crate) fn peek(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// Whether the field `name` is there and not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    /// The whole number in `name`, or `default` when the field is not there.
    ///
    /// # Errors
    /// When the field is no whole number in `range`.
    pub fn whole(&mut self, name: &str, default: usize, range: std::ops::RangeInclusive<usize>) -> Result<usize> {
        let expected = || match *range.end() {
            usize::MAX => format!("a whole number from {} up", range.start()),
            end => format!("a whole number from {} to {end}", range.start()),
        };
        let Some(value) = self.take(name) else { return Ok(default) };
        // 5e5 and 500000.0 are whole numbers too: some writers of JSON know only floats.
        let number = value
            .as_u64()
            .or_else(|| value.as_f64().filter(|x| x.fract() == 0.0 && *x >= 0.0 && *x < 9e15).map(|x| x as u64));
        match number.and_then(|number| usize::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Ok(number),
            _ => Err(self.wrong(name, expected(), &value)),
        }
    }

    /// The number in `name`, or `default` when the field is not there.
    ///
    /// # Errors
    /// When the field is no number.
    pub fn number(&mut self, name: &str, default: f64) -> Result<f64> {
        let Some(value) = self.take(name) else { return Ok(default) };
        value.as_f64().ok_or_else(|| self.wrong(name, "a number", &value))
    }

    /// The number in `name`, or `default` when the field is not there.
    ///
    /// # Errors
    /// When the field is no finite number above 0.
    pub fn positive(&mut self, name: &str, default: f64) -> Result<f64> {
        let Some(value) = self.take(name) else { return Ok(default) };
        match value.as_f64() {
            Some(number) if number.is_finite() && number > 0.0 => Ok(number),
            _ => Err(self.wrong(name, "a number above 0", &value)),
        }
    }

    /// The truth value in `name`, or `default`.
    ///
    /// # Errors
    /// When the field is neither true nor false.
    pub fn flag(&mut self, name: &str, default: bool) -> Result<bool> {
        let Some(value) = self.take(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(name, "true or false", &value))
    }

    /// The text in `name`, or `default`.
    ///
    /// # Errors
    /// When the field is not text.
    pub fn text(&mut self, name: &str, default: &str) -> Result<String> {
        let Some(value) = self.take(name) else { return Ok(default.to_owned()) };
        match value {
            Value::String(text) => Ok(text),
            other => Err(self.wrong(name, "text", &other)),
        }
    }

    /// The list of whole numbers in `name`, or `default`.
    ///
    /// # Errors
    /// When the field is not a list of at most 64 whole numbers in `range`.
    pub fn wholes(
        &mut self,
        name: &str,
        default: &[usize],
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Vec<usize>> {
        let Some(value) = self.take(name) else { return Ok(default.to_vec()) };
        let numbers = value.as_array().filter(|list| list.len() <= 64).and_then(|list| {
            list.iter()
                .map(|item| {
                    item.as_u64()
                        .and_then(|number| usize::try_from(number).ok())
                        .filter(|number| range.contains(number))
                })
                .collect::<Option<Vec<_>>>()
        });
        numbers.ok_or_else(|| {
            let expected = format!("a list of at most 64 whole numbers from {} to {}", range.start(), range.end());
            self.wrong(name, expected, &value)
        })
    }

    /// The nested object in `name`, if it is there.
    ///
    /// # Errors
    /// When the field is there and is no object.
    pub fn object(&mut self, name: &str) -> Result<Option<Json>> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => self.nested(name, value).map(Some),
        }
    }

    /// Marks fields without effect here, so that [`Json::finish`] does not warn of them.
    pub fn ignore(&mut self, names: &[&str]) {
        self.taken.extend(names.iter().map(|name| (*name).to_owned()));
    }

    /// Ends the reading: one sentence for each unknown field, for the caller to log.
    pub fn finish(self) -> Vec<String> {
        let unknown = self.fields.keys().filter(|name| !self.taken.contains(*name));
        unknown
            .map(|name| {
                let (path, name) = (self.path.display(), shown(&format!("{}{name}", self.prefix)));
                format!("{path}: unknown field `{name}` is ignored")
            })
            .take(MOST_WARNINGS)
            .collect()
    }

    /// The error for a field that is there but useless.
    pub fn wrong(&self, name: &str, expected: impl fmt::Display, found: impl fmt::Display) -> ModelError {
        ModelError::Field {
            path: self.path.clone(),
            field: shown(&format!("{}{name}", self.prefix)),
            expected: expected.to_string(),
            found: shown(&found.to_string()),
        }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.taken.insert(name.to_owned());
        self.fields.get(name).filter(|value| !value.is_null()).cloned()
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
