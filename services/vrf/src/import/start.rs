//! Being started the way a former worker was.

use std::path::Path;

use k256::elliptic_curve::rand_core::{OsRng, RngCore as _};
use windlass_node::config::SecretText;
use windlass_node::dotenv::{Comments, Environment, FILE_NAME};

use super::env::read_environment;
use super::render::{RenderOptions, SecretStyle, to_toml};
use super::settings::WorkerSettings;
use super::yaml::read_yaml;
use super::{ImportFailure, Imported, Note, Place};

/// The variable of the token that opens the HTTP interface.
const TOKEN_VARIABLE: &str = "WINDLASS_TOKEN";

/// The configuration of a program that is started with the YAML file of worker 0.2: `windlass vrf run --config config.yaml`. The
/// variables `EVM_PRIVATE_KEY` and `BAND_MNEMONIC` of this process win over the file.
///
/// # Errors
/// The file is not there ([`ImportFailure::NotFound`], exit code 1 as the former worker), or wrong.
pub fn from_worker_yaml(path: &Path) -> Result<Imported, ImportFailure> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => ImportFailure::NotFound { path: name.clone() },
        _ => ImportFailure::Unreadable { path: name.clone(), reason: error.to_string() },
    })?;
    let (settings, notes) = read_yaml(&name, &text, |name| std::env::var(name).ok())?;
    Ok(imported(&settings, notes, |name| std::env::var(name).ok()))
}

/// The configuration of a program that is started with the environment of worker 0.1: variables of the process, and a file `.env` in
/// `folder`, which need not be there.
///
/// # Errors
/// Everything that is wrong in them.
pub fn from_worker_env(folder: &Path) -> Result<Imported, ImportFailure> {
    let (environment, warnings) = Environment::of_process_with(folder, Comments::AfterBlank);
    let (settings, mut notes) = read_environment(FILE_NAME, &environment)?;
    notes.extend(warnings.iter().map(|warning| Note {
        place: Place::Missing(folder.display().to_string()),
        key: FILE_NAME.to_owned(),
        text: warning.to_string(),
    }));
    Ok(imported(&settings, notes, |name| std::env::var(name).ok()))
}

/// The text for a program that reads it itself.
fn imported(settings: &WorkerSettings, mut notes: Vec<Note>, variable: impl Fn(&str) -> Option<String>) -> Imported {
    let open = variable(TOKEN_VARIABLE).is_some_and(|token| !token.trim().is_empty());
    let closed = settings.listen.is_some() && !open;
    if closed {
        notes.push(Note {
            place: Place::Missing("the environment".to_owned()),
            key: TOKEN_VARIABLE.to_owned(),
            text: "is not set; of the HTTP interface only /health and the trigger can be used. Set it to a text of your own to use the rest"
                .to_owned(),
        });
    }
    let options = RenderOptions {
        secrets: SecretStyle::Process,
        // Nobody knows this one, so nobody gets in; the former worker had no such interface.
        token: closed.then(random_token),
        ..RenderOptions::default()
    };
    Imported { toml: to_toml(settings, &options), name: settings.section_name(), notes }
}

fn random_token() -> SecretText {
    let mut bytes = [0_u8; 32];
    OsRng.fill_bytes(&mut bytes);
    SecretText::new(hex::encode(bytes))
}
