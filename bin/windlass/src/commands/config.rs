//! `windlass init` and `windlass config`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use windlass_node::config::{Config, Sources};

use crate::exit::{Unavailable, Usage};
use crate::global::Global;
use crate::output::{Output, note, table};
use crate::services;

/// Services that have a section in the configuration.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ServiceKind {
    /// Guards services that are paid by the second
    Payer,
    /// Relays random values from BandChain to a client chain
    Vrf,
}

impl ServiceKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Payer => "payer",
            Self::Vrf => "vrf",
        }
    }
}

/// The chain that the templates of services name.
const EXAMPLE_CHAIN: &str = "gnosis";

/// Options of `windlass init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The service
    service: ServiceKind,
    /// Name of the instance
    #[arg(long, default_value = "main")]
    name: String,
    /// Write to this file, which must not exist, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The subcommands of `windlass config`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Report every error of the configuration at once
    Check {
        /// Also ask the endpoints: reachable, right chain, contracts in place
        #[arg(long)]
        online: bool,
    },
    /// Print every value and where it came from
    Show,
    /// Print an example file with every key, its meaning and default
    Example,
    /// Print the reference of all keys as Markdown
    Reference,
}

/// Reads the configuration that the command line names; warnings go to standard error.
pub(crate) fn load(global: &Global) -> anyhow::Result<Config> {
    let (path, required) = global.config_path();
    let sources = Sources::from_system(&path, required, global.set.clone())?;
    let config = services::schema().load(&sources)?;
    for warning in config.warnings() {
        note(&format!("warning: {warning}"));
    }
    Ok(config)
}

pub(crate) fn init(init: &Init, output: Output) -> anyhow::Result<()> {
    let kind = init.service.name();
    let schema = services::schema();
    // The section names a chain, so the file is whole only with that chain.
    let sections = [schema.template("chain", EXAMPLE_CHAIN), schema.template(kind, &init.name)];
    let [Some(chain), Some(section)] = sections else {
        let rule = "a name is 1 to 32 of a-z, 0-9, - and _, and begins with a letter or digit";
        return Err(Usage(format!("`{}` cannot be the name of an instance: {rule}", init.name)).into());
    };
    let text = format!("{chain}\n{section}");
    let Some(path) = &init.out else {
        output.result(&text, String::clone)?;
        return Ok(());
    };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // The file may come to hold secrets.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    note(&format!("Wrote {0}. Fill in what stands open, then: windlass --config {0} config check --online", path.display()));
    Ok(())
}

pub(crate) async fn run(command: Command, global: &Global, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Check { online } => check(global, online, output).await,
        Command::Show => {
            let config = load(global)?;
            let values = config.show();
            output.result(&values, |values| {
                let rows: Vec<_> = values
                    .iter()
                    .map(|shown| {
                        let value = shown.value.clone().unwrap_or_else(|| "(none)".to_owned());
                        vec![shown.key.clone(), value, shown.origin.to_string()]
                    })
                    .collect();
                table(&["key", "value", "from"], &rows)
            })?;
            Ok(())
        }
        Command::Example => Ok(output.result(&services::schema().example(), String::clone)?),
        Command::Reference => Ok(output.result(&services::schema().reference(), String::clone)?),
    }
}

#[derive(Serialize)]
struct Checked {
    services: Vec<String>,
    findings: Vec<services::Finding>,
}

async fn check(global: &Global, online: bool, output: Output) -> anyhow::Result<()> {
    let config = load(global)?;
    let services = services::names(&config);
    if services.is_empty() {
        note("The configuration is right, and has no services. Add one: windlass init payer");
    }
    let findings = if online { services::check_online(&config).await } else { Vec::new() };
    let failed = findings.iter().filter(|finding| !finding.ok).count();
    let transient = findings.iter().all(|finding| finding.ok || finding.transient);
    output.result(&Checked { services, findings }, |checked| {
        let mut lines = vec![match checked.services.as_slice() {
            [] => "configuration: ok, no services".to_owned(),
            services => format!("configuration: ok, services: {}", services.join(", ")),
        }];
        for finding in &checked.findings {
            let mark = if finding.ok { "ok    " } else { "FAILED" };
            lines.push(format!("{mark} {}: {}", finding.subject, finding.text));
        }
        lines.join("\n")
    })?;
    let text = format!("{failed} of the checks against the chains failed");
    match (failed, transient) {
        (0, _) => Ok(()),
        (_, true) => {
            Err(Unavailable { text, hint: "nothing that answered was wrong; try again when the endpoints are up" }.into())
        }
        (_, false) => Err(anyhow::Error::msg(text)),
    }
}
