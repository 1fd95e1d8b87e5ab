//! `tags`: lists the tags that a model takes.

use heartstream_models::{ModelDirectory, text::KnownTags};
use serde_json::json;

use super::{Failed, asked::checkpoint, model_args::TagsArgs};

/// Columns that a line of tags takes at most.
const COLUMNS: usize = 78;
/// Before the tags of a group.
const INDENT: &str = "    ";

/// Prints the tags that a model is known to take.
pub(super) fn tags(args: &TagsArgs) -> Result<(), Failed> {
    let model = &args.model.model;
    let directory = ModelDirectory::open(checkpoint(model)?)?;
    let Some(known) = &directory.known_tags else {
        let warning = directory.warnings.iter().find(|warning| warning.contains("tags.json"));
        let reason = warning.map_or_else(|| "it has no tags.json".to_owned(), Clone::clone);
        return Err(Failed::Error(format!(
            "nothing is known of the tags that the model {model} takes: {reason}. Ask who made it; any words with commas \
             between can be tried"
        )));
    };
    if args.json {
        out!("{:#}", json!({ "model": model, "tags": known }));
    } else {
        print(model, known);
    }
    Ok(())
}

fn print(model: &str, known: &KnownTags) {
    let whole = if known.complete { "" } else { ", as far as they are known" };
    out!("tags of the model {model}{whole}\n");
    for group in &known.groups {
        out!("{}", group.name);
        for line in lines(group.tags.iter().map(String::as_str)) {
            out!("{INDENT}{line}");
        }
    }
    out!("");
    for line in wrapped(&known.source) {
        out!("{line}");
    }
    out!("\nexamples");
    for example in &known.examples {
        out!("{INDENT}--tags {}", if example.contains([' ', '&']) { format!("'{example}'") } else { example.clone() });
    }
}

/// Tags with commas between, in lines that fit.
fn lines<'a>(tags: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut lines = fold(tags, ", ");
    let last = lines.len().saturating_sub(1);
    for line in &mut lines[..last] {
        line.push(',');
    }
    lines
}

fn wrapped(text: &str) -> Vec<String> {
    fold(text.split_whitespace(), " ")
}

fn fold<'a>(words: impl Iterator<Item = &'a str>, between: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + between.len() + word.chars().count() < COLUMNS - INDENT.len() => {
                line.push_str(between);
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_fill_lines_that_fit_and_none_is_lost() {
        let tags: Vec<String> = (0..60).map(|n| format!("tag {n}")).collect();
        let lines = lines(tags.iter().map(String::as_str));
        assert!(lines.len() > 5 && lines.iter().all(|line| line.chars().count() + INDENT.len() <= COLUMNS));
        assert_eq!(lines.join(" "), tags.join(", "));
    }
}
