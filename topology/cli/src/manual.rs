//! `completions` and `man`: what shells and `man` show of the command line, made from the command line itself.

use std::fs;

use clap::CommandFactory;

use super::{
    Failed,
    args::Args,
    model_args::{CompletionsArgs, ManArgs},
};

const PROGRAM: &str = "heartstream";

/// Prints a completion script.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failed> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), PROGRAM, &mut script);
    out!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(())
}

/// Writes a page for the program and one for each command and what is below it.
pub(super) fn man(args: &ManArgs) -> Result<(), Failed> {
    let written = fs::create_dir_all(&args.out).and_then(|()| clap_mangen::generate_to(Args::command(), &args.out));
    written.map_err(|error| {
        Failed::Error(format!(
            "cannot write manual pages into {}: {error}. {}",
            args.out.display(),
            heartstream_models::write_remedy(&error)
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Command;

    use super::*;

    /// Columns of the document, as of a wide terminal.
    const COLUMNS: usize = 100;
    /// What stands before the first command.
    const HEAD: &str = "# Commands and options\n\n\
        What `heartstream --help` says, and `--help` of each command. After `make install`, `man heartstream-play` and the \
        like have the same.\n";

    /// A command without what the environment of this moment would add to its help.
    fn plain(command: Command) -> Command {
        command.term_width(COLUMNS).mut_args(|argument| argument.hide_env_values(true)).mut_subcommands(plain)
    }

    /// The help of a command and of those below it, a section each.
    fn add_sections(command: &mut Command, name: &str, document: &mut String) {
        let help = command.render_long_help().to_string();
        let help: Vec<&str> = help.trim().lines().map(str::trim_end).collect();
        document.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", help.join("\n")));
        for command in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            let name = format!("{name} {}", command.get_name());
            add_sections(command, &name, document);
        }
    }

    #[test]
    fn docs_commands_md_is_what_help_says() {
        let mut program = plain(Args::command());
        program.build();
        let mut document = HEAD.to_owned();
        add_sections(&mut program, PROGRAM, &mut document);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands.md");
        if std::env::var_os("HEARTSTREAM_WRITE_DOCS").is_some() {
            fs::write(&path, &document).expect("written");
        }
        let found = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
        assert!(
            found == document,
            "docs/commands.md says something else than help: HEARTSTREAM_WRITE_DOCS=1 cargo test --workspace --lib \
             docs_commands_md writes it anew"
        );
    }
}
