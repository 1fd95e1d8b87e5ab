//! Defaults of a model's songs: the options of sampling and flow matching that its `gen_config.json` says.

use heartstream_messages::{Flow, Sampling, SongRequest};
use serde_json::{Value, json};

use crate::{
    error::{ModelError, Result},
    heartcodec::check_flow,
    heartmula::{KeyedSampler, check_guidance},
    signal::KeyedNoise,
    weights::{Checkpoint, Json},
};

/// Counts whose upper limit the checks below know.
const COUNTS: std::ops::RangeInclusive<usize> = 1..=usize::MAX;

/// The options that songs of a model are made with where a request does not say them. What the model does not say is
/// the reference's default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SongDefaults {
    /// How codes are drawn.
    pub sampling: Sampling,
    /// How codes become latents.
    pub flow: Flow,
}

impl SongDefaults {
    /// The fields of `gen_config.json` that say them, all of them optional.
    pub(crate) const FIELDS: [&'static str; 5] = ["temperature", "top_k", "cfg_scale", "flow_steps", "flow_guidance"];

    /// Reads `gen_config.json`. The other fields of the file are [`crate::heartmula::SpecialIds`].
    ///
    /// # Errors
    /// When the file is missing, is no JSON object, or says an option that a request is refused with, by its field.
    pub fn read(checkpoint: &Checkpoint) -> Result<Self> {
        let mut json = Json::read(checkpoint, "gen_config.json")?;
        let Self { sampling, flow } = Self::default();
        let defaults = Self {
            sampling: Sampling {
                temperature: json.number("temperature", sampling.temperature.into())? as f32,
                top_k: json.whole("top_k", sampling.top_k, COUNTS)?,
                cfg_scale: json.number("cfg_scale", sampling.cfg_scale)?,
            },
            flow: Flow {
                steps: json.whole("flow_steps", flow.steps, COUNTS)?,
                guidance: json.number("flow_guidance", flow.guidance.into())? as f32,
            },
        };
        defaults.check().map_err(|error| of_field(&json, error))?;
        Ok(defaults)
    }

    /// Checks them as the options of a request are checked.
    ///
    /// # Errors
    /// When one is out of range, by its name.
    pub fn check(&self) -> Result<()> {
        KeyedSampler::new(self.sampling, KeyedNoise::new(0))?;
        check_guidance(self.sampling.cfg_scale)?;
        check_flow(self.flow)?;
        Ok(())
    }

    /// Their fields in `gen_config.json`, each number with the few digits that say it.
    pub fn fields(&self) -> [(&'static str, Value); 5] {
        let Self { sampling: Sampling { temperature, top_k, cfg_scale }, flow: Flow { steps, guidance } } = self;
        // As `f64` an `f32` of 0.7 is 0.699999988.
        let shortest = |number: &f32| json!(number.to_string().parse::<f64>().unwrap_or(f64::from(*number)));
        let values = [shortest(temperature), json!(top_k), json!(cfg_scale), json!(steps), shortest(guidance)];
        std::array::from_fn(|index| (Self::FIELDS[index], values[index].clone()))
    }

    /// A song of these words with the model's defaults, and otherwise as [`SongRequest::new`] has it.
    pub fn request(&self, tags: impl Into<String>, lyrics: impl Into<String>) -> SongRequest {
        SongRequest { sampling: self.sampling, flow: self.flow, ..SongRequest::new(tags, lyrics) }
    }
}

/// An option's error as that of the field that says the option, with the number as it is in the file.
fn of_field(json: &Json, error: ModelError) -> ModelError {
    let ModelError::Option { option, expected, found } = error else { return error };
    let field = option.replace('-', "_");
    let found = json.peek(&field).map_or(found, ToString::to_string);
    json.wrong(&field, expected, found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ModelDirectory;

    /// The model of the tests with `fields` at the front of its `gen_config.json`.
    fn opened(fields: &str) -> Result<ModelDirectory> {
        let (folder, directory) = crate::test_checkpoints::tiny();
        let path = folder.path().join("gen_config.json");
        let config = fs::read_to_string(&path).expect("a config").replacen('{', &format!("{{{fields}"), 1);
        fs::write(path, config).expect("written");
        ModelDirectory::open(directory.checkpoint)
    }

    #[test]
    fn what_a_model_does_not_say_is_the_references_default() {
        for fields in ["", r#""temperature": null, "top_k": null, "flow_guidance": null,"#] {
            let directory = opened(fields).expect("a model");
            assert_eq!(directory.defaults, SongDefaults::default(), "{fields}");
            assert_eq!(directory.defaults.request("a", "b"), SongRequest::new("a", "b"), "{fields}");
        }
    }

    #[test]
    fn what_a_model_says_is_its_default_and_no_unknown_field() {
        let fields = r#""temperature": 0, "top_k": 20, "cfg_scale": 2.5, "flow_steps": 4.0, "flow_guidance": 2,"#;
        let directory = opened(fields).expect("a model");
        let sampling = Sampling { temperature: 0.0, top_k: 20, cfg_scale: 2.5 };
        assert_eq!(directory.defaults, SongDefaults { sampling, flow: Flow { steps: 4, guidance: 2.0 } });
        assert_eq!(directory.warnings, opened("").expect("a model").warnings);
        let alone = opened(r#""flow_guidance": 2,"#).expect("a model").defaults;
        assert_eq!(alone.flow, Flow { guidance: 2.0, ..Flow::default() });
        assert_eq!(alone.sampling, Sampling::default());
    }

    #[test]
    fn fields_that_are_written_are_read_as_they_were() {
        let sampling = Sampling { temperature: 0.7, top_k: 30, cfg_scale: 1.1 };
        let defaults = SongDefaults { sampling, flow: Flow { steps: 12, guidance: 2.3 } };
        let fields: String = defaults.fields().iter().map(|(name, value)| format!("\"{name}\": {value},")).collect();
        assert!(fields.contains("\"temperature\": 0.7,"), "{fields}");
        assert_eq!(opened(&fields).expect("a model").defaults, defaults);
    }

    #[test]
    fn what_a_request_is_refused_with_no_model_may_say() {
        for (fields, field, found) in [
            (r#""temperature": -0.5,"#, "`temperature`", "-0.5"),
            (r#""temperature": 1e300,"#, "`temperature`", "1e+300"),
            (r#""temperature": "1","#, "`temperature`", "\"1\""),
            (r#""top_k": 0,"#, "`top_k`", "is 0"),
            (r#""top_k": 1.5,"#, "`top_k`", "1.5"),
            (r#""cfg_scale": 0.9,"#, "`cfg_scale`", "0.9"),
            (r#""cfg_scale": true,"#, "`cfg_scale`", "true"),
            (r#""flow_steps": 1001,"#, "`flow_steps`", "1001"),
            (r#""flow_steps": -1,"#, "`flow_steps`", "-1"),
            (r#""flow_guidance": 1000.5,"#, "`flow_guidance`", "1000.5"),
            (r#""flow_guidance": [2],"#, "`flow_guidance`", "[2]"),
        ] {
            let error = opened(fields).expect_err(fields).to_string();
            for word in ["gen_config.json", field, "must be", found] {
                assert!(error.contains(word), "{word} is not in: {error}");
            }
        }
    }
}
