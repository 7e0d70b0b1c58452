//! The command `vrf import`.

#![allow(rustdoc::invalid_html_tags, reason = "the comments are the help texts; a terminal shows <name> as it is")]

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use windlass_keys::SecretSource;
use windlass_node::config::{Schema, Sources};

use super::render::{RenderOptions, SecretStyle, secret_files, to_toml};
use super::settings::WorkerSettings;
use super::tasks::{Takeover, read_tasks};
use super::{ImportFailure, Note, read_env, read_yaml, to_yaml};
use crate::config::VrfConfig;

/// Exit code: done.
const SUCCESS: u8 = 0;
/// Exit code: the settings are wrong or cannot be read or written.
const FAILURE: u8 = 1;
/// Exit code: a value of the command line cannot be understood.
const USAGE: u8 = 2;

/// The kind of a file with settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SourceKind {
    /// The .env file of worker 0.1.
    Env,
    /// The YAML file of worker 0.2.
    Yaml,
}

/// What is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum TargetKind {
    /// A configuration file of this program.
    #[default]
    Toml,
    /// The YAML file of worker 0.2.
    Yaml,
}

/// Reads the settings of a former worker and prints a configuration.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The .env file of worker 0.1, or the YAML file of worker 0.2.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Kind of the file; told by its ending if not given.
    #[arg(long, value_enum, value_name = "KIND")]
    pub from: Option<SourceKind>,
    /// What to make.
    #[arg(long, value_enum, value_name = "KIND", default_value = "toml")]
    pub to: TargetKind,
    /// Name of the sections; made from the former name of the chain if not given.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write secrets as they are, instead of the variables that hold them.
    #[arg(long, conflicts_with = "secrets_dir")]
    pub inline_secrets: bool,
    /// Write each secret into a file of this folder, and refer to it.
    #[arg(long, value_name = "FOLDER")]
    pub secrets_dir: Option<PathBuf>,
    /// Database of worker 0.1, to begin where it ended: sqlite:<path> or postgres://..., or env:NAME, file:PATH.
    #[arg(long, value_parser = secret, value_name = "URL")]
    pub database: Option<SecretSource>,
    /// Write into this file, which must not be there yet, instead of standard output.
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Say which files would be written, and write none.
    #[arg(long)]
    pub dry_run: bool,
}

fn secret(text: &str) -> Result<SecretSource, std::convert::Infallible> {
    text.parse()
}

/// Where results and remarks go.
struct Output<'w> {
    stdout: &'w mut (dyn Write + Send),
    stderr: &'w mut (dyn Write + Send),
}

impl Output<'_> {
    fn remark(&mut self, text: impl std::fmt::Display) {
        let _ = writeln!(self.stderr, "{text}");
    }

    fn error(&mut self, text: impl std::fmt::Display, hint: Option<String>) {
        self.remark(format_args!("error: {text}"));
        if let Some(hint) = hint {
            self.remark(format_args!("hint: {hint}"));
        }
    }
}

/// Carries out `vrf import`. The result is the exit code: 0 done, 1 wrong settings or files, 2 a value of the command line that cannot be
/// understood. `stdout` gets the configuration only; with `json` a document with `name`, `text` and `notes`.
pub async fn import(arguments: &ImportArgs, stdout: &mut (dyn Write + Send), stderr: &mut (dyn Write + Send), json: bool) -> u8 {
    let mut output = Output { stdout, stderr };
    let settings = match read(arguments) {
        Ok((settings, notes)) => {
            for note in &notes {
                output.remark(note);
            }
            (settings, notes)
        }
        Err(failure) => {
            output.error(&failure, failure.hint().map(str::to_owned));
            return FAILURE;
        }
    };
    let takeover = match takeover(arguments, &mut output).await {
        Ok(takeover) => takeover,
        Err(code) => return code,
    };
    let (settings, notes) = settings;
    let name = arguments.name.clone().unwrap_or_else(|| settings.section_name());
    let text = match arguments.to {
        TargetKind::Yaml => {
            for note in limits_of_yaml(&settings) {
                output.remark(note);
            }
            to_yaml(&settings, arguments.inline_secrets)
        }
        TargetKind::Toml => {
            let options = options(arguments, name.clone(), takeover);
            let text = to_toml(&settings, &options);
            if let Err(errors) = Schema::new().section::<VrfConfig>().load(&Sources::text("the new configuration", &text)) {
                output.error(errors, None);
                return FAILURE;
            }
            text
        }
    };
    match write(arguments, &settings, &text, &mut output) {
        Err(code) => code,
        Ok(true) => SUCCESS,
        Ok(false) => {
            let written = match json {
                true => {
                    let notes: Vec<_> = notes
                        .iter()
                        .map(|note| json!({"place": note.place.to_string(), "key": note.key, "text": note.text}))
                        .collect();
                    let document = json!({"name": name, "text": text, "notes": notes});
                    writeln!(output.stdout, "{document:#}")
                }
                false => write!(output.stdout, "{text}"),
            };
            // A stream that is gone is no reason to change the outcome of a command.
            let _ = written;
            SUCCESS
        }
    }
}

fn read(arguments: &ImportArgs) -> Result<(WorkerSettings, Vec<Note>), ImportFailure> {
    let path = &arguments.file;
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ImportFailure::NotFound { path: name.clone() },
        _ => ImportFailure::Unreadable { path: name.clone(), reason: error.to_string() },
    })?;
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let is_yaml = ["yaml", "yml"].iter().any(|known| ending.eq_ignore_ascii_case(known)) || text.contains("evm_chain_config:");
    let kind = arguments.from.unwrap_or(if is_yaml { SourceKind::Yaml } else { SourceKind::Env });
    match kind {
        SourceKind::Env => read_env(&name, &text),
        // What stands in the environment of this command is no setting of the file.
        SourceKind::Yaml => read_yaml(&name, &text, |_| None),
    }
}

async fn takeover(arguments: &ImportArgs, output: &mut Output<'_>) -> Result<Option<Takeover>, u8> {
    let Some(source) = &arguments.database else { return Ok(None) };
    let url = source.resolve().map_err(|error| {
        output.error(error, Some("give the URL of the database, or env:NAME or file:PATH that holds it".to_owned()));
        USAGE
    })?;
    let tasks = read_tasks(url.expose()).await.map_err(|error| {
        output.error(&error, error.hint());
        FAILURE
    })?;
    let takeover = Takeover::of(&tasks);
    let start = takeover.start_nonce().map_or_else(|| "the configured one".to_owned(), |nonce| nonce.to_string());
    output.remark(format_args!(
        "note: the former worker had stored {} tasks, {} of them not resolved; the first nonce is {start}. Each is read from the chain again",
        takeover.tasks,
        takeover.unresolved.len()
    ));
    Ok(Some(takeover))
}

fn options(arguments: &ImportArgs, name: String, takeover: Option<Takeover>) -> RenderOptions {
    let secrets = match (&arguments.secrets_dir, arguments.inline_secrets) {
        (Some(folder), _) => SecretStyle::Folder(folder.clone()),
        (None, true) => SecretStyle::Inline,
        (None, false) => SecretStyle::Reference,
    };
    RenderOptions { name: Some(name), secrets, takeover, token: None }
}

/// What worker 0.2 cannot be told.
fn limits_of_yaml(settings: &WorkerSettings) -> Vec<String> {
    let mut notes = Vec::new();
    if settings.rpc.len() > 1 || settings.grpc.len() > 1 {
        notes.push("note: worker 0.2 knows one endpoint for each chain; the first of each list is written".to_owned());
    }
    let lost: Vec<&str> = [
        ("BAND_PROOF_URLS", !settings.proof_urls.is_empty()),
        ("BAND_RPC_ENDPOINTS", !settings.band_rpc.is_empty()),
        ("DISCORD_WEBHOOK", settings.webhook.is_some()),
        ("DB_HOST", settings.database.is_some()),
        ("QUEUE", !settings.cloud.is_empty()),
    ]
    .into_iter()
    .filter_map(|(name, given)| given.then_some(name))
    .collect();
    if !lost.is_empty() {
        notes.push(format!("note: worker 0.2 has nothing for {}", lost.join(", ")));
    }
    notes
}

/// Writes the files. `false` if the text goes to standard output.
fn write(arguments: &ImportArgs, settings: &WorkerSettings, text: &str, output: &mut Output<'_>) -> Result<bool, u8> {
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    if let Some(folder) = &arguments.secrets_dir {
        files.extend(secret_files(settings, folder).into_iter().map(|(path, secret)| (path, secret.expose().to_owned())));
    }
    if let Some(path) = &arguments.output {
        files.push((path.clone(), text.to_owned()));
    }
    if arguments.dry_run {
        for (path, _) in &files {
            output.remark(format_args!("would write {}", path.display()));
        }
        return Ok(false);
    }
    for (path, content) in &files {
        if let Err(error) = create(path, content) {
            let hint = match error.kind() {
                std::io::ErrorKind::AlreadyExists => "nothing is overwritten: remove the file, or name another one",
                _ => "check the folder and its permissions",
            };
            output.error(format_args!("cannot write {}: {error}", path.display()), Some(hint.to_owned()));
            return Err(FAILURE);
        }
        output.remark(format_args!("wrote {}", path.display()));
    }
    Ok(arguments.output.is_some())
}

/// A new file that only its owner can read.
fn create(path: &Path, content: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(content.as_bytes())
}
