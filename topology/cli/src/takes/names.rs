//! Names of takes: `{n}` in the name of a file is the number of the take.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Failed, song_args::RenderArgs};

/// Stands for the number of a take.
const NUMBER: &str = "{n}";
/// Where takes go when nothing is said, without the ending.
const USUAL: &str = "take-{n}";

/// The name of all takes when nothing is said: `take-{n}.wav`, or, unless that may be written over, the first of
/// `take-2-{n}.wav`, `take-3-{n}.wav`, … of which no take is there; or with another suffix.
pub(super) fn usual(count: u64, suffix: &str, overwrite: bool) -> String {
    let is_free = |name: &String| (1..=count).all(|number| fs::symlink_metadata(numbered(name, number)).is_err());
    let first = format!("{USUAL}.{suffix}");
    let series = (2..u32::MAX).map(|series| format!("take-{series}-{NUMBER}.{suffix}"));
    let names = std::iter::once(first.clone()).chain(series);
    let mut names = names.filter(|name| overwrite || is_free(name));
    names.next().unwrap_or(first)
}

/// The options of take `number`, of which the seed is `seed`.
///
/// # Errors
/// When a file that each take needs for itself has a name without a number.
pub(super) fn of_take(args: &RenderArgs, number: u64, seed: u64) -> Result<RenderArgs, Failed> {
    let mut take = args.clone();
    take.seed = Some(seed);
    take.output.output = named("-o", args.output.output.as_deref(), number)?;
    take.output.record = named("--record", args.output.record.as_deref(), number)?;
    take.save_codes = named("--save-codes", args.save_codes.as_deref(), number)?;
    Ok(take)
}

/// The name of take `number`.
pub(super) fn numbered(name: &str, number: u64) -> PathBuf {
    name.replace(NUMBER, &number.to_string()).into()
}

fn named(option: &str, path: Option<&Path>, number: u64) -> Result<Option<PathBuf>, Failed> {
    let Some(path) = path else { return Ok(None) };
    let Some(name) = path.to_str() else {
        return Err(Failed::Usage(format!(
            "the number of a take goes into {option} {}, which is not UTF-8. Give it another name, such as {USUAL}.wav",
            path.display()
        )));
    };
    match name.contains(NUMBER) {
        true => Ok(Some(numbered(name, number))),
        false => Err(Failed::Usage(format!(
            "each take has a file of its own, and {option} {} is one for all. Put {NUMBER} into the name: {}",
            path.display(),
            example(path)
        ))),
    }
}

/// The name with a number before its ending.
fn example(path: &Path) -> String {
    let usual = || format!("{USUAL}.wav");
    let Some(stem) = path.file_stem().filter(|_| path != Path::new("-")) else { return usual() };
    let mut name = stem.to_os_string();
    name.push(format!("-{NUMBER}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_take_stands_where_its_sign_is() {
        let name = |path: &str, number| named("-o", Some(path.as_ref()), number);
        assert_eq!(name("a/take-{n}.wav", 12).expect("a name"), Some("a/take-12.wav".into()));
        assert_eq!(name("{n}/{n}.flac", 3).expect("a name"), Some("3/3.flac".into()));
        assert_eq!(named("-o", None, 3).expect("nothing"), None);
    }

    #[test]
    fn one_file_for_all_takes_is_refused_with_a_name_that_would_do() {
        for (path, better) in [("a/song.wav", "a/song-{n}.wav"), ("-", "take-{n}.wav"), ("song", "song-{n}")] {
            let Err(Failed::Usage(said)) = named("-o", Some(path.as_ref()), 1) else { panic!("{path} is refused") };
            assert!(said.contains(&format!("-o {path}")) && said.ends_with(better), "{said}");
        }
    }
}
