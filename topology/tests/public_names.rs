//! Promise: what the library offers at its root is what `public_names.txt` lists, and at most forty names.

use std::collections::BTreeSet;

const MOST: usize = 40;

/// The names that the root of the library makes public: modules, and what is re-exported outside of them.
fn names(source: &str) -> BTreeSet<String> {
    let is_code = |line: &&str| !line.starts_with("//") && !line.starts_with("#[");
    let code: Vec<&str> = source.lines().map(str::trim).filter(is_code).collect();
    let (mut names, mut statement, mut depth) = (BTreeSet::new(), String::new(), 0);
    for letter in code.join(" ").chars() {
        statement.push(letter);
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => (),
        }
        let is_over = depth == 0 && (letter == ';' || letter == '}' && !statement.trim().starts_with("pub use "));
        if is_over {
            names.extend(made_public(statement.trim()));
            statement.clear();
        }
    }
    names
}

/// What one statement makes public.
fn made_public(statement: &str) -> Vec<String> {
    if let Some(module) = statement.strip_prefix("pub mod ") {
        return module.split([';', '{', ' ']).next().map(str::to_owned).into_iter().collect();
    }
    let Some(paths) = statement.strip_prefix("pub use ") else { return Vec::new() };
    let paths =
        paths.split(['{', '}', ';', ',']).map(str::trim).filter(|path| !path.is_empty() && !path.ends_with("::"));
    paths.filter_map(|path| path.rsplit([':', ' ']).next().map(str::to_owned)).collect()
}

#[test]
fn the_root_of_the_library_has_the_names_that_are_listed_and_at_most_forty() {
    let found = names(include_str!("../src/lib.rs"));
    let listed: BTreeSet<String> = include_str!("public_names.txt").lines().map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&found).collect();
    assert!(new.is_empty() && gone.is_empty(), "new: {new:?}; gone: {gone:?}");
    assert!(found.len() <= MOST, "{} names", found.len());
}

#[test]
fn names_are_found_in_every_form_in_which_they_are_made_public() {
    let source = "pub mod a;\nmod b;\npub use c::{D, e::F, g::{H, I}};\n/// Doc; with a semicolon\npub use j as k;\n\
        pub mod l {\n    pub use m::N;\n}\n#[cfg(x)]\npub mod o;\npub use p::q;\n";
    assert_eq!(names(source).into_iter().collect::<Vec<_>>(), ["D", "F", "H", "I", "a", "k", "l", "o", "q"]);
}
