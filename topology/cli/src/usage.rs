//! Options that are wrong: what is said of them, and which option was probably meant.

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};

use heartstream_models::foreign_text::{MOST_BYTES, bounded, printable, shown};

use crate::{
    arg_groups::MODEL_VARIABLE,
    args::Args,
    output_macros::{failure, output_refused},
};

/// What programs of the kind call an option, and what it is called here.
const OTHER_NAMES: [(&[&str], &str); 7] = [
    (&["duration", "length", "seconds", "time"], "max-seconds"),
    (&["prompt", "style", "genre", "mood"], "tags"),
    (&["text", "words"], "lyrics"),
    (&["gpu", "cuda"], "device"),
    (&["checkpoint", "weights"], "model"),
    (&["steps"], "flow-steps"),
    (&["guidance"], "cfg-scale"),
];

/// Says what is wrong with the options, or what they ask to be told, and ends. Options with control characters in them are
/// repeated without clap's colours, which are control characters too.
pub(crate) fn refuse(mut error: clap::Error) -> ! {
    let strange = |argument: std::ffi::OsString| {
        let argument = argument.to_string_lossy();
        printable(&argument) != argument
    };
    if error.kind() == ErrorKind::InvalidUtf8 {
        failure(&no_utf8());
        std::process::exit(2);
    }
    if !error.use_stderr() {
        // Help and version: what cannot be written is an error here, too.
        match error.print() {
            Ok(()) => std::process::exit(0),
            Err(error) => output_refused(&error),
        }
    }
    add_tip(&mut error);
    let long = std::env::args_os().map(|argument| argument.len()).sum::<usize>() > MOST_BYTES;
    if error.use_stderr() && (long || std::env::args_os().any(strange)) {
        note!("{}", bounded(error.to_string().trim_end()));
        std::process::exit(2);
    }
    error.exit()
}

/// Says which argument, or the variable in its place, is no UTF-8, which words and names of models must be.
fn no_utf8() -> String {
    let of_arguments = || std::env::args_os().find(|argument| argument.to_str().is_none());
    let (what, found) = match std::env::var_os(MODEL_VARIABLE).filter(|model| model.to_str().is_none()) {
        Some(model) if of_arguments().is_none() => (format!("the variable {MODEL_VARIABLE}"), model),
        _ => ("an argument".to_owned(), of_arguments().unwrap_or_default()),
    };
    format!(
        "{what} is not UTF-8: {}. Write it in UTF-8; to a file or a directory of such a name, make a link of another name \
         (ln -s OLD NEW)",
        shown(&found.to_string_lossy())
    )
}

/// Adds to the error of an unknown option what was probably meant.
fn add_tip(error: &mut clap::Error) {
    let Some(ContextValue::String(found)) = error.get(ContextKind::InvalidArg) else { return };
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let Some(command) = arguments.into_iter().find(|argument| !argument.starts_with('-')) else { return };
    let Some(tip) = tip(found, &command).filter(|_| error.kind() == ErrorKind::UnknownArgument) else { return };
    let _ = match tip {
        Tip::Option(name) => error.insert(ContextKind::SuggestedArg, ContextValue::String(format!("--{name}"))),
        Tip::Sentence(tip) => error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()])),
    };
}

#[derive(Debug, PartialEq, Eq)]
enum Tip {
    /// An option of the command.
    Option(&'static str),
    Sentence(String),
}

/// What may have been meant by the argument `found` of `command`.
fn tip(found: &str, command: &str) -> Option<Tip> {
    let all = Args::command();
    let has = |command: &clap::Command, name: &str| command.get_arguments().any(|one| one.get_long() == Some(name));
    let this = all.find_subcommand(command)?;
    let Some(name) = found.strip_prefix("--") else {
        let sentence = match (found.starts_with('-'), has(this, "output"), has(this, "model")) {
            _ if !has(this, "lyrics") && !has(this, "model") => return None,
            (true, ..) if has(this, "lyrics") => "words that begin with - are written behind a =: --lyrics='- la'",
            (true, ..) => return None,
            (_, true, _) => "words are given with --lyrics, tags with --tags, the name of a file to write with -o",
            _ => "the directory of a model is given with --model",
        };
        return Some(Tip::Sentence(sentence.to_owned()));
    };
    let meant = OTHER_NAMES.iter().find(|(names, _)| names.contains(&name)).map(|(_, meant)| *meant);
    if let Some(meant) = meant.filter(|meant| has(this, meant)) {
        return Some(Tip::Option(meant));
    }
    let others = all.get_subcommands().filter(|other| has(other, name)).map(|other| format!("`{}`", other.get_name()));
    let others: Vec<String> = others.take(3).collect();
    (!others.is_empty()).then(|| Tip::Sentence(format!("--{name} is an option of {}", others.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_name_leads_to_an_option_that_is_there_and_is_none_itself() {
        let all = Args::command();
        let render = all.find_subcommand("render").expect("a command");
        for (names, meant) in OTHER_NAMES {
            for name in names {
                assert_eq!(tip(&format!("--{name}"), "render"), Some(Tip::Option(meant)));
                assert!(render.get_arguments().all(|one| one.get_long() != Some(name)), "--{name}");
            }
        }
    }

    #[test]
    fn an_option_of_another_command_and_words_without_an_option_are_told_where_they_belong() {
        let said = |found, command| match tip(found, command) {
            Some(Tip::Sentence(sentence)) => sentence,
            other => panic!("{other:?}"),
        };
        assert_eq!(said("--speaker", "render"), "--speaker is an option of `play`");
        assert!(said("song.wav", "play").contains("--lyrics"));
        assert_eq!(tip("--nonsense", "play"), None);
        assert_eq!(tip("song.wav", "devices"), None);
    }
}
