//! The manual pages and the completions of shells, from the definition of the command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use terminal::is_broken_pipe;

/// Where the manual pages go.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory to write one page for each command to, such as /usr/local/share/man/man1. Without
    /// it, the main page goes to standard output.
    directory: Option<PathBuf>,
}

/// For which shell to complete.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    shell: Shell,
}

/// The pages or the script cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {target}")]
pub struct ManualError {
    target: String,
    source: io::Error,
}

/// Writes the manual pages of `command` and its subcommands.
///
/// # Errors
/// [`ManualError`].
pub fn write_pages(args: &ManArgs, command: Command) -> Result<(), ManualError> {
    match &args.directory {
        Some(directory) => write_all(directory, command).map_err(|source| ManualError {
            target: directory.display().to_string(),
            source,
        }),
        None => {
            let mut page = vec![];
            let rendered = clap_mangen::Man::new(command).render(&mut page);
            print(rendered.map(|()| page))
        }
    }
}

fn write_all(directory: &Path, command: Command) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(command, directory)
}

/// Prints the script that completes `command` in a shell.
///
/// # Errors
/// [`ManualError`].
pub fn print_completions(args: &CompletionsArgs, mut command: Command) -> Result<(), ManualError> {
    let name = command.get_name().to_owned();
    let mut script = vec![];
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print(Ok(script))
}

/// Prints to standard output. A reader that closed the pipe is not an error.
fn print(rendered: io::Result<Vec<u8>>) -> Result<(), ManualError> {
    let written = rendered.and_then(|bytes| {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&bytes)?;
        stdout.flush()
    });
    match written {
        Err(source) if !is_broken_pipe(&source) => Err(ManualError {
            target: "standard output".to_owned(),
            source,
        }),
        Ok(()) | Err(_) => Ok(()),
    }
}
