//! The theme of the shop: its settings, and the commands that check one and print an example.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api::brand::{Brand, FILE_NAME, PublicUrl, ThemeError, catalogue, example};
use clap::{Args, Subcommand};
use database::fail;
use terminal::print_line;

/// How the shop looks, and where its readers find it.
#[derive(Debug, Clone, Args)]
pub struct BrandSettings {
    /// Theme file (TOML) with the name, logo, colors, languages and texts of the shop. By default
    /// theme.toml in the data directory, if there is one. `holdfast theme example` prints one.
    #[arg(long, env = "HOLDFAST_THEME", value_name = "FILE")]
    pub theme: Option<PathBuf>,

    /// Address of the shop for its readers, such as <https://shop.example>, in links of pages and
    /// feeds. Its path, if it has one, is the base path. Precedes public_url of the theme. Without
    /// both, the Host of each request.
    #[arg(long, env = "HOLDFAST_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,
}

impl BrandSettings {
    /// Loads the brand; a theme in `data_dir` is used if no other is set.
    ///
    /// # Errors
    /// [`ThemeError`].
    pub fn load(&self, data_dir: &Path) -> Result<Brand, ThemeError> {
        let usual = data_dir.join(FILE_NAME);
        let usual = Some(usual).filter(|path| path.exists());
        let path = self.theme.clone().or(usual);
        Brand::load(path.as_deref(), self.public_url.clone())
    }
}

/// Checks the theme of a shop, and prints examples.
#[derive(Debug, Args)]
pub struct ThemeArgs {
    #[command(subcommand)]
    command: ThemeCommand,
}

#[derive(Debug, Subcommand)]
enum ThemeCommand {
    /// Check a theme file, and the files that it names: exit code 0, or 1 and the first fault.
    Check {
        /// The theme file.
        file: PathBuf,
    },
    /// Print a theme file with every key and its default.
    Example,
    /// Print the texts of a language as JSON, to translate or to replace them.
    Texts {
        /// The tag of a language of the program: en, de or he.
        language: String,
    },
}

/// Runs the command.
pub fn run(args: &ThemeArgs) -> ExitCode {
    let text = match &args.command {
        ThemeCommand::Example => example().trim_end().to_owned(),
        ThemeCommand::Check { file } => match Brand::load(Some(file), None) {
            Ok(brand) => format!("{} is valid: {}", file.display(), brand.summary()),
            Err(error) => return fail(&error),
        },
        ThemeCommand::Texts { language } => match catalogue(language) {
            Ok(texts) => texts.trim_end().to_owned(),
            Err(error) => return fail(&error),
        },
    };
    match print_line(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}
