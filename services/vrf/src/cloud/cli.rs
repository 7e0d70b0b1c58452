//! The commands `vrf cloud create-task` and `vrf cloud recipe`.

#![allow(rustdoc::invalid_html_tags, reason = "the comments are the help texts; a terminal shows <name> as it is")]

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use windlass_node::config::{Schema, SecretText, Sources};
use windlass_node::dotenv::{Comments, Dotenv, parse};
use windlass_store::Clock;

use super::recipe::{RecipeConfig, RecipeDatabase, RecipeSecret, Step, recipe, run};
use super::tasks::TaskQueue;
use crate::config::{TriggerConfig, VrfConfig};
use crate::import::{ImportFailure, from_worker_env};

/// Exit code: done.
const SUCCESS: u8 = 0;
/// Exit code: refused or failed.
const FAILURE: u8 = 1;
/// Exit code: a value of the command line cannot be understood.
const USAGE: u8 = 2;
/// Exit code: the other side was not reached; nothing is known.
const CANNOT_TELL: u8 = 3;

/// Makes one task of the queue: the first, or one to begin anew.
#[derive(Debug, Clone, Args)]
pub struct CreateTaskArgs {
    /// Name of a [vrf.<name>] section with a trigger; may be left out when there is only one.
    #[arg(long, value_name = "NAME", conflicts_with = "from_env")]
    pub relay: Option<String>,
    /// Use the variables of the former worker: of the environment, and of the file .env in this folder.
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = ".")]
    pub from_env: Option<PathBuf>,
    /// Print the request instead of sending it.
    #[arg(long)]
    pub dry_run: bool,
}

/// Prints or carries out the commands that deploy the relay on the Google cloud.
#[derive(Debug, Clone, Args)]
pub struct RecipeArgs {
    /// The .env file of the former worker: what the container and this command are told.
    #[arg(long, value_name = "FILE")]
    pub env: Option<PathBuf>,
    /// Project; PROJECT_ID or PROJECT of the file.
    #[arg(long, value_name = "ID")]
    pub project: Option<String>,
    /// Region of everything; REGION or LOCATION of the file.
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
    /// Name of the service; SERVICE_NAME of the file, or vrf-worker.
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,
    /// Container image.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// Name of the service account, without its domain; that of SERVICE_ACCOUNT_DETAIL, or the name of the service.
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Name of the queue; QUEUE of the file, or the name of the service.
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// Name of the PostgreSQL instance; that of DB_CONNECTION_NAME, or the name of the service.
    #[arg(long, value_name = "NAME", conflicts_with = "no_database")]
    pub database: Option<String>,
    /// Make no database. What the relay knows is then lost with its container, and found again on the chains.
    #[arg(long)]
    pub no_database: bool,
    /// Network of the database.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub network: String,
    /// VPC connector; VPC_CONNECTOR of the file, or the name of the service.
    #[arg(long, value_name = "NAME")]
    pub vpc_connector: Option<String>,
    /// Let the service run only while it is called, which is cheaper and slower.
    #[arg(long)]
    pub scale_to_zero: bool,
    /// Minutes between two calls of the scheduler that stands by.
    #[arg(long, value_name = "MINUTES", default_value_t = 10)]
    pub watchdog_minutes: u8,
    /// Carry out from this step on.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub from_step: usize,
    /// Carry the commands out. Without it, and with --dry-run, they are only printed.
    #[arg(long, conflicts_with = "dry_run")]
    pub execute: bool,
    /// Only print the commands.
    #[arg(long)]
    pub dry_run: bool,
    /// Program to run in place of gcloud.
    #[arg(long, value_name = "PROGRAM", hide = true)]
    pub gcloud: Option<OsString>,
}

/// Where results and remarks go.
struct Output<'w> {
    stdout: &'w mut (dyn Write + Send),
    stderr: &'w mut (dyn Write + Send),
}

// A stream that is gone is no reason to change the outcome of a command.
impl Output<'_> {
    fn result(&mut self, text: impl std::fmt::Display) {
        let _ = writeln!(self.stdout, "{text}");
    }

    fn remark(&mut self, text: impl std::fmt::Display) {
        let _ = writeln!(self.stderr, "{text}");
    }

    fn error(&mut self, text: impl std::fmt::Display, hint: Option<&str>) {
        self.remark(format_args!("error: {text}"));
        if let Some(hint) = hint {
            self.remark(format_args!("hint: {hint}"));
        }
    }
}

/// The trigger that the variables of the former worker describe.
///
/// # Errors
/// The variables are wrong, or describe no trigger.
pub fn trigger_of_env(folder: &Path) -> Result<TriggerConfig, String> {
    let imported = from_worker_env(folder).map_err(|failure: ImportFailure| failure.to_string())?;
    let config = Schema::new().section::<VrfConfig>().load(&Sources::text("the environment", &imported.toml));
    let config = config.map_err(|errors| errors.to_string())?;
    let relay = config.instances::<VrfConfig>().next().and_then(|(_, relay)| relay.trigger.clone());
    relay.ok_or_else(|| "the variables describe no trigger: RUN_LOCAL must be False".to_owned())
}

/// Carries out `vrf cloud create-task` with the trigger of a section, or of [`trigger_of_env`]. The result is the exit code: 0 made, 1
/// refused, 2 no queue is configured, 3 not reached. `stdout` gets the name of the task, with `json` a document.
pub async fn create_task(
    arguments: &CreateTaskArgs,
    trigger: &TriggerConfig,
    clock: Arc<dyn Clock>,
    stdout: &mut (dyn Write + Send),
    stderr: &mut (dyn Write + Send),
    json: bool,
) -> u8 {
    let mut output = Output { stdout, stderr };
    let queue = match TaskQueue::new(trigger, clock) {
        Ok(queue) => queue,
        Err(error) => {
            output.error(&error, error.hint());
            return USAGE;
        }
    };
    if arguments.dry_run {
        let (url, body) = queue.request(queue.next_due());
        match json {
            true => output.result(format_args!("{:#}", json!({"method": "POST", "url": url.as_str(), "body": body}))),
            false => output.result(format_args!("POST {url}\n{body:#}")),
        }
        return SUCCESS;
    }
    match queue.create().await {
        Ok(task) => {
            match json {
                true => output.result(format_args!("{:#}", json!(task))),
                false => output.result(&task.name),
            }
            SUCCESS
        }
        Err(error) => {
            output.error(&error, error.hint());
            if error.is_transient() { CANNOT_TELL } else { FAILURE }
        }
    }
}

/// Variables that hold a key, or an address that may hold one.
const SECRETS: [&str; 5] = ["WORKER_PK", "BAND_MNEMONIC", "DB_PASSWORD", "DISCORD_WEBHOOK", "EVM_JSON_RPC_ENDPOINTS"];
/// Variables that the recipe sets by itself, or that belong to it and not to the container.
const OF_RECIPE: [&str; 20] = [
    "AUDIENCE",
    "CLOUD_RUN_URL",
    "DB_CONNECTION_NAME",
    "DB_HOST",
    "DB_NAME",
    "DB_PORT",
    "DB_USER",
    "HOST",
    "INSTANCE_HOST",
    "LOCATION",
    "PORT",
    "PROJECT",
    "PROJECT_ID",
    "QUEUE",
    "REGION",
    "RUN_LOCAL",
    "SERVICE_ACCOUNT_DETAIL",
    "SERVICE_NAME",
    "VPC_CONNECTOR",
    "POA_CHAIN",
];

/// What the command line and the file say together; the command line wins.
pub fn recipe_config(arguments: &RecipeArgs, file: &Dotenv) -> RecipeConfig {
    let value = |name: &str| -> Option<String> {
        let found = file.assignments.iter().rev().find(|one| one.name == name)?;
        let text = found.value.trim();
        let template = text.starts_with('<') && text.ends_with('>');
        (!text.is_empty() && !template).then(|| text.to_owned())
    };
    let first = |given: &Option<String>, names: &[&str]| given.clone().or_else(|| names.iter().find_map(|name| value(name)));
    let service = first(&arguments.service, &["SERVICE_NAME"]).unwrap_or_else(|| "vrf-worker".to_owned());
    let account = value("SERVICE_ACCOUNT_DETAIL").and_then(|email| email.split_once('@').map(|(name, _)| name.to_owned()));
    let instance = value("DB_CONNECTION_NAME").and_then(|name| name.rsplit_once(':').map(|(_, instance)| instance.to_owned()));
    let database = RecipeDatabase {
        instance: arguments.database.clone().or(instance).unwrap_or_else(|| service.clone()),
        name: value("DB_NAME").unwrap_or_else(|| "vrf".to_owned()),
        user: value("DB_USER").unwrap_or_else(|| "vrf".to_owned()),
        network: arguments.network.clone(),
        host: value("DB_HOST").or_else(|| value("INSTANCE_HOST")),
        port: value("DB_PORT").and_then(|port| port.parse().ok()).unwrap_or(5432),
    };
    let names: std::collections::BTreeSet<&str> = file.assignments.iter().map(|one| one.name.as_str()).collect();
    let variables = names
        .into_iter()
        .filter(|name| !SECRETS.contains(name) && !OF_RECIPE.contains(name))
        .filter_map(|name| Some((name.to_owned(), value(name)?)))
        .collect();
    let secrets = SECRETS
        .into_iter()
        .filter(|name| match *name {
            "DB_PASSWORD" => !arguments.no_database,
            "DISCORD_WEBHOOK" => value(name).is_some(),
            _ => true,
        })
        .map(|name| RecipeSecret { name: name.to_owned(), value: value(name).map(SecretText::new) })
        .collect();
    RecipeConfig {
        project: first(&arguments.project, &["PROJECT_ID", "PROJECT"]).unwrap_or_default(),
        region: first(&arguments.region, &["REGION", "LOCATION"]).unwrap_or_default(),
        image: arguments.image.clone().unwrap_or_default(),
        account: arguments.account.clone().or(account).unwrap_or_else(|| service.clone()),
        queue: first(&arguments.queue, &["QUEUE"]).unwrap_or_else(|| service.clone()),
        database: (!arguments.no_database).then_some(database),
        vpc_connector: first(&arguments.vpc_connector, &["VPC_CONNECTOR"]).unwrap_or_else(|| service.clone()),
        variables,
        secrets,
        always_on: !arguments.scale_to_zero,
        watchdog_minutes: arguments.watchdog_minutes,
        service,
    }
}

/// Carries out `vrf cloud recipe`. The result is the exit code: 0 done, 1 a step failed, 2 something is missing. `stdout` gets the commands
/// (with `json` a list of steps), or when they are carried out nothing; progress goes to `stderr`.
pub async fn recipe_command(
    arguments: &RecipeArgs,
    stdout: &mut (dyn Write + Send),
    stderr: &mut (dyn Write + Send),
    json: bool,
) -> u8 {
    let mut output = Output { stdout, stderr };
    let file = match &arguments.env {
        None => Dotenv::default(),
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => parse(&text, Comments::AfterBlank),
            Err(error) => {
                output.error(format_args!("cannot read {}: {error}", path.display()), Some("check the path"));
                return USAGE;
            }
        },
    };
    let config = recipe_config(arguments, &file);
    let problems = config.problems();
    if !problems.is_empty() {
        for problem in problems {
            output.error(problem, None);
        }
        output.remark("hint: give the option, or the file of the former worker with --env");
        return USAGE;
    }
    let steps = recipe(&config);
    if !arguments.execute {
        print(&steps, &mut output, json);
        return SUCCESS;
    }
    let count = steps.len();
    let done = run(&steps, arguments.from_step, arguments.gcloud.as_ref(), |number, step| {
        output.remark(format_args!("step {number} of {count}: {}", step.title));
    });
    match done.await {
        Ok(()) => {
            output.remark("done; the relay is called from now on");
            SUCCESS
        }
        Err(error) => {
            output.error(&error, Some(&error.hint()));
            FAILURE
        }
    }
}

fn print(steps: &[Step], output: &mut Output<'_>, json: bool) {
    if json {
        let steps: Vec<_> = (1..)
            .zip(steps)
            .map(|(number, step): (u32, _)| json!({"step": number, "title": step.title, "command": step.command, "note": step.note}))
            .collect();
        output.result(format_args!("{:#}", json!(steps)));
        return;
    }
    for (number, step) in (1_u32..).zip(steps) {
        let note = if step.note.is_empty() { String::new() } else { format!(": {}", step.note) };
        output.result(format_args!("# {number}. {}{note}", step.title));
        output.result(step);
        output.result("");
    }
}
