//! The deployment of the former worker as a list of commands: container service, PostgreSQL, task queue, secrets, accounts, network.
//!
//! [`recipe`] is a pure function. [`run`] carries the commands out, one by one, and says where to go on after a failure; a step whose
//! object exists already counts as done, so that the whole may be repeated.

use std::ffi::OsString;
use std::fmt;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use windlass_node::config::SecretText;

/// Stands for the address of the service, which is known after it was deployed.
pub const URL: &str = "{url}";
/// Stands for the private address of the database, which is known after it was made.
pub const DATABASE_HOST: &str = "{database-host}";
/// What the container runs: the relay with the variables of the former worker.
const ARGUMENTS: &str = "--args=vrf,run,--env";
/// The role of the one who may call the service.
const INVOKER: &str = "roles/run.invoker";

/// What is deployed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecipeConfig {
    /// Project.
    pub project: String,
    /// Region of service, database, queue and network.
    pub region: String,
    /// Name of the service.
    pub service: String,
    /// Container image.
    pub image: String,
    /// Name of the service account, without its domain.
    pub account: String,
    /// Name of the queue.
    pub queue: String,
    /// Name of the database instance; without one the state is lost with the container, and nothing is made.
    pub database: Option<RecipeDatabase>,
    /// VPC connector.
    pub vpc_connector: String,
    /// Plain variables of the container.
    pub variables: Vec<(String, String)>,
    /// Secret variables of the container.
    pub secrets: Vec<RecipeSecret>,
    /// One instance that always runs, so that events are acted on at once; otherwise one that only runs while it is called.
    pub always_on: bool,
    /// Minutes between two calls of the scheduler, which stands by in case that the queue has lost its task.
    pub watchdog_minutes: u8,
}

/// The database instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecipeDatabase {
    /// Name of the instance.
    pub instance: String,
    /// Name of the database in it.
    pub name: String,
    /// User.
    pub user: String,
    /// Network that it gets its private address in.
    pub network: String,
    /// Its private address; asked for after it was made if not given.
    pub host: Option<String>,
    /// Its port.
    pub port: u16,
}

/// A secret variable.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecipeSecret {
    /// Name of the variable, and of the secret.
    pub name: String,
    /// Its value, if it is known here; otherwise the operator gives it.
    pub value: Option<SecretText>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// What it does.
    pub title: String,
    /// Program and arguments. Holds no secret.
    pub command: Vec<String>,
    /// What to know about it.
    pub note: String,
    /// Given to its standard input.
    pub input: Option<SecretText>,
    /// It asks the operator for something, so it needs a terminal.
    pub asks: bool,
    /// Its output is what this stands for later: [`URL`] or [`DATABASE_HOST`].
    pub tells: Option<&'static str>,
}

impl RecipeConfig {
    /// E-mail address of the service account.
    pub fn account_email(&self) -> String {
        format!("{}@{}.iam.gserviceaccount.com", self.account, self.project)
    }

    /// Everything that is missing or cannot be right, in words.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, value) in [
            ("project", &self.project),
            ("region", &self.region),
            ("service", &self.service),
            ("image", &self.image),
            ("account", &self.account),
            ("queue", &self.queue),
            ("vpc-connector", &self.vpc_connector),
        ] {
            if value.trim().is_empty() {
                problems.push(format!("--{name} is missing"));
            } else if value.contains(char::is_whitespace) || value.starts_with('-') {
                problems.push(format!("--{name} must be one word that does not begin with -"));
            }
        }
        if !(6..=30).contains(&self.account.len()) && !self.account.is_empty() {
            problems.push("--account must have 6 to 30 characters: the cloud wants that of service accounts".to_owned());
        }
        if !(1..=59).contains(&self.watchdog_minutes) {
            problems.push("--watchdog-minutes must be from 1 to 59".to_owned());
        }
        problems
    }
}

/// The commands, in order. Prints nothing and runs nothing.
pub fn recipe(config: &RecipeConfig) -> Vec<Step> {
    let mut steps = vec![services(config), account(config)];
    for secret in &config.secrets {
        steps.extend(secret_steps(config, secret));
    }
    steps.extend(network(config));
    if let Some(database) = &config.database {
        steps.extend(database_steps(config, database));
    }
    steps.extend(queue(config));
    steps.extend(deploy(config));
    steps.extend(start(config));
    steps
}

/// A command of `gcloud` in the project.
fn gcloud(config: &RecipeConfig, title: impl Into<String>, words: &str, more: &[String], note: &str) -> Step {
    let mut command = vec!["gcloud".to_owned()];
    command.extend(words.split_whitespace().map(str::to_owned));
    command.extend(more.iter().cloned());
    command.push(format!("--project={}", config.project));
    command.push("--quiet".to_owned());
    Step { title: title.into(), command, note: note.to_owned(), ..Step::default() }
}

fn services(config: &RecipeConfig) -> Step {
    let apis = "run cloudtasks cloudscheduler secretmanager iam";
    let of_database = if config.database.is_some() { "sqladmin vpcaccess servicenetworking compute" } else { "" };
    let apis: Vec<String> =
        apis.split_whitespace().chain(of_database.split_whitespace()).map(|api| format!("{api}.googleapis.com")).collect();
    gcloud(
        config,
        "switch the services of the project on",
        "services enable",
        &apis,
        "takes a minute when it is new to the project",
    )
}

fn account(config: &RecipeConfig) -> Step {
    let more = [config.account.clone(), "--display-name=VRF relay".to_owned()];
    let note = "the relay runs in its name, and the queue calls in its name";
    gcloud(config, "make the service account", "iam service-accounts create", &more, note)
}

fn member(config: &RecipeConfig) -> String {
    format!("--member=serviceAccount:{}", config.account_email())
}

fn secret_steps(config: &RecipeConfig, secret: &RecipeSecret) -> [Step; 3] {
    let name = &secret.name;
    let make = gcloud(
        config,
        format!("make the secret {name}"),
        "secrets create",
        &[name.clone(), "--replication-policy=automatic".to_owned()],
        "",
    );
    let mut fill = gcloud(
        config,
        format!("give the secret {name} its value"),
        "secrets versions add",
        &[name.clone(), "--data-file=-".to_owned()],
        match secret.value {
            Some(_) => "the value goes through standard input, not through the command line",
            None => "type the value without a line end and finish with Ctrl-D twice",
        },
    );
    fill.asks = secret.value.is_none();
    fill.input = secret.value.clone();
    let more = [name.clone(), member(config), "--role=roles/secretmanager.secretAccessor".to_owned()];
    let read = gcloud(config, format!("let the relay read {name}"), "secrets add-iam-policy-binding", &more, "");
    [make, fill, read]
}

fn network(config: &RecipeConfig) -> Vec<Step> {
    if config.database.is_none() {
        return Vec::new();
    }
    let network = config.database.as_ref().map_or("default", |database| database.network.as_str());
    let range = format!("google-managed-services-{network}");
    vec![
        gcloud(
            config,
            "make the VPC connector",
            "compute networks vpc-access connectors create",
            &[
                config.vpc_connector.clone(),
                format!("--region={}", config.region),
                format!("--network={network}"),
                "--range=10.8.0.0/28".to_owned(),
            ],
            "the way from the service to the private address of the database",
        ),
        gcloud(
            config,
            "keep a range of addresses for the database",
            "compute addresses create",
            &[
                range.clone(),
                "--global".to_owned(),
                "--purpose=VPC_PEERING".to_owned(),
                "--prefix-length=16".to_owned(),
                format!("--network={network}"),
            ],
            "",
        ),
        gcloud(
            config,
            "connect the network of the database",
            "services vpc-peerings connect",
            &[
                "--service=servicenetworking.googleapis.com".to_owned(),
                format!("--ranges={range}"),
                format!("--network={network}"),
            ],
            "",
        ),
    ]
}

fn database_steps(config: &RecipeConfig, database: &RecipeDatabase) -> Vec<Step> {
    let instance = format!("--instance={}", database.instance);
    let mut password = gcloud(
        config,
        "give the database user its password",
        "sql users set-password",
        &[database.user.clone(), instance.clone(), "--prompt-for-password".to_owned()],
        "the same as in the secret DB_PASSWORD",
    );
    password.asks = true;
    // The question must be asked.
    password.command.retain(|word| word != "--quiet");
    let mut host = gcloud(
        config,
        "ask for the address of the database",
        "sql instances describe",
        &[database.instance.clone(), "--format=value(ipAddresses[0].ipAddress)".to_owned()],
        "",
    );
    host.tells = Some(DATABASE_HOST);
    let mut steps = vec![
        gcloud(
            config,
            "make the PostgreSQL instance",
            "sql instances create",
            &[
                database.instance.clone(),
                "--database-version=POSTGRES_16".to_owned(),
                "--edition=enterprise".to_owned(),
                "--tier=db-custom-1-3840".to_owned(),
                format!("--region={}", config.region),
                format!("--network={}", database.network),
                "--no-assign-ip".to_owned(),
                "--backup".to_owned(),
                "--deletion-protection".to_owned(),
            ],
            "takes ten minutes; it has a private address only",
        ),
        gcloud(config, "make the database", "sql databases create", &[database.name.clone(), instance.clone()], ""),
        gcloud(config, "make the database user", "sql users create", &[database.user.clone(), instance], ""),
        password,
        gcloud(
            config,
            "let the relay connect to the database",
            "projects add-iam-policy-binding",
            &[config.project.clone(), member(config), "--role=roles/cloudsql.client".to_owned(), "--condition=None".to_owned()],
            "",
        ),
    ];
    if database.host.is_none() {
        steps.push(host);
    }
    steps
}

fn queue(config: &RecipeConfig) -> Vec<Step> {
    let location = format!("--location={}", config.region);
    vec![
        gcloud(
            config,
            "make the task queue",
            "tasks queues create",
            &[config.queue.clone(), location.clone(), "--max-concurrent-dispatches=1".to_owned(), "--max-attempts=1".to_owned()],
            "one call at a time, and none is repeated: the relay itself asks for the next",
        ),
        gcloud(
            config,
            "let the relay make tasks",
            "tasks queues add-iam-policy-binding",
            &[config.queue.clone(), location, member(config), "--role=roles/cloudtasks.enqueuer".to_owned()],
            "",
        ),
        gcloud(
            config,
            "let the relay make tasks in its own name",
            "iam service-accounts add-iam-policy-binding",
            &[config.account_email(), member(config), "--role=roles/iam.serviceAccountUser".to_owned()],
            "",
        ),
    ]
}

fn deploy(config: &RecipeConfig) -> Vec<Step> {
    let region = format!("--region={}", config.region);
    let mut more = vec![
        config.service.clone(),
        format!("--image={}", config.image),
        ARGUMENTS.to_owned(),
        region.clone(),
        "--no-allow-unauthenticated".to_owned(),
        format!("--service-account={}", config.account_email()),
        "--max-instances=1".to_owned(),
        format!("--min-instances={}", u8::from(config.always_on)),
        if config.always_on { "--no-cpu-throttling".to_owned() } else { "--cpu-throttling".to_owned() },
        "--timeout=3600".to_owned(),
    ];
    if let Some(database) = &config.database {
        more.push(format!("--add-cloudsql-instances={}:{}:{}", config.project, config.region, database.instance));
        more.push(format!("--vpc-connector={}", config.vpc_connector));
    }
    let mut variables = config.variables.clone();
    if let Some(database) = &config.database {
        let host = database.host.clone().unwrap_or_else(|| DATABASE_HOST.to_owned());
        let parts = [("DB_HOST", host), ("DB_PORT", database.port.to_string())];
        let more = [("DB_NAME", database.name.clone()), ("DB_USER", database.user.clone())];
        variables.extend(parts.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)));
    }
    variables.extend([
        ("RUN_LOCAL".to_owned(), "False".to_owned()),
        ("PROJECT".to_owned(), config.project.clone()),
        ("LOCATION".to_owned(), config.region.clone()),
        ("QUEUE".to_owned(), config.queue.clone()),
        ("SERVICE_ACCOUNT_DETAIL".to_owned(), config.account_email()),
    ]);
    more.push(list_of_variables("--set-env-vars", &variables));
    if !config.secrets.is_empty() {
        let secrets: Vec<String> = config.secrets.iter().map(|secret| format!("{0}={0}:latest", secret.name)).collect();
        more.push(format!("--set-secrets={}", secrets.join(",")));
    }
    let mut describe = gcloud(
        config,
        "ask for the address of the service",
        "run services describe",
        &[config.service.clone(), region.clone(), "--format=value(status.url)".to_owned()],
        "",
    );
    describe.tells = Some(URL);
    let known = [("CLOUD_RUN_URL".to_owned(), URL.to_owned()), ("AUDIENCE".to_owned(), URL.to_owned())];
    vec![
        gcloud(
            config,
            "deploy the service",
            "run deploy",
            &more,
            "callers need an identity token; there is one instance at most",
        ),
        gcloud(
            config,
            "let the queue call the service",
            "run services add-iam-policy-binding",
            &[config.service.clone(), region.clone(), member(config), format!("--role={INVOKER}")],
            "",
        ),
        describe,
        gcloud(
            config,
            "tell the service its address",
            "run services update",
            &[config.service.clone(), region, list_of_variables("--update-env-vars", &known)],
            "the address is known only after the first deployment",
        ),
    ]
}

/// Variables as one argument, with a separator that occurs in none of them.
fn list_of_variables(flag: &str, variables: &[(String, String)]) -> String {
    let pairs: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let free = ['#', '|', '~', '%', ';', '!', '*'].into_iter().find(|c| !pairs.iter().any(|pair| pair.contains(*c)));
    let separator = free.map_or_else(|| "::windlass::".to_owned(), |c| format!("{c}{c}"));
    format!("{flag}=^{separator}^{}", pairs.join(&separator))
}

fn start(config: &RecipeConfig) -> [Step; 2] {
    let location = format!("--location={}", config.region);
    let email = config.account_email();
    [
        gcloud(
            config,
            "make the first task",
            "tasks create-http-task",
            &[
                format!("--queue={}", config.queue),
                location.clone(),
                format!("--url={URL}"),
                "--method=POST".to_owned(),
                format!("--oidc-service-account-email={email}"),
                format!("--oidc-token-audience={URL}"),
            ],
            "each further one is made by the relay; `windlass vrf cloud create-task` makes one too",
        ),
        gcloud(
            config,
            "call the service now and then in any case",
            "scheduler jobs create http",
            &[
                format!("{}-watchdog", config.service),
                location,
                format!("--schedule=*/{} * * * *", config.watchdog_minutes),
                format!("--uri={URL}"),
                "--http-method=POST".to_owned(),
                format!("--oidc-service-account-email={email}"),
                format!("--oidc-token-audience={URL}"),
                "--attempt-deadline=1800s".to_owned(),
            ],
            "so that a lost task does not end the calls for ever",
        ),
    ]
}

impl fmt::Display for Step {
    /// The command as a line for a shell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.command.iter().enumerate() {
            let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=./:@,%+".contains(&b));
            let gap = if index == 0 { "" } else { " " };
            match plain {
                true => write!(f, "{gap}{word}")?,
                false => write!(f, "{gap}'{}'", word.replace('\'', "'\\''"))?,
            }
        }
        Ok(())
    }
}

/// Why the recipe stopped.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// A command failed.
    #[error("step {number} ({title}) failed: {reason}")]
    Step {
        /// Its number, from 1.
        number: usize,
        /// What it does.
        title: String,
        /// Why.
        reason: String,
    },
    /// There is no such step.
    #[error("there is no step {number}; there are {count}")]
    NoStep {
        /// The number that was asked for.
        number: usize,
        /// How many there are.
        count: usize,
    },
}

impl RecipeError {
    /// What the operator can do.
    pub fn hint(&self) -> String {
        match self {
            Self::Step { number, .. } => format!("correct the cause and go on with --from-step {number}"),
            Self::NoStep { .. } => "--dry-run lists the steps with their numbers".to_owned(),
        }
    }
}

/// Carries out the steps from number `first` on (from 1), and tells each before it begins. `program` is run in place of `gcloud` if it is
/// given. Of the steps before `first` only those are repeated that tell what
/// a later one needs.
///
/// # Errors
/// The first step that failed.
pub async fn run(
    steps: &[Step],
    first: usize,
    program: Option<&OsString>,
    mut tell: impl FnMut(usize, &Step),
) -> Result<(), RecipeError> {
    if first == 0 || first > steps.len() {
        return Err(RecipeError::NoStep { number: first, count: steps.len() });
    }
    let mut known: Known = Vec::new();
    for (number, step) in (1..).zip(steps).skip(first.saturating_sub(1)) {
        // What an earlier step told is asked for again when going on behind it.
        for (earlier, asking) in (1..number).zip(steps) {
            if let Some(what) = asking.tells.filter(|what| step.needs(what) && !known.iter().any(|(name, _)| name == what)) {
                known.push((what, run_step(earlier, asking, &known, program).await?));
            }
        }
        tell(number, step);
        let answer = run_step(number, step, &known, program).await?;
        if let Some(what) = step.tells {
            known.push((what, answer));
        }
    }
    Ok(())
}

/// What steps have told, with what it stands for.
type Known = Vec<(&'static str, String)>;

impl Step {
    fn needs(&self, what: &str) -> bool {
        self.command.iter().any(|word| word.contains(what))
    }
}

/// Runs one command, and returns what it printed.
async fn run_step(number: usize, step: &Step, known: &Known, program: Option<&OsString>) -> Result<String, RecipeError> {
    let failed = |reason: String| RecipeError::Step { number, title: step.title.clone(), reason };
    let mut words = step.command.iter();
    let named = OsString::from(words.next().map_or("gcloud", String::as_str));
    let mut command = tokio::process::Command::new(program.unwrap_or(&named));
    for word in words {
        command.arg(known.iter().fold(word.clone(), |word, (what, value)| word.replace(what, value)));
    }
    command.stdin(if step.input.is_some() {
        Stdio::piped()
    } else if step.asks {
        Stdio::inherit()
    } else {
        Stdio::null()
    });
    command.stdout(Stdio::piped()).stderr(if step.asks { Stdio::inherit() } else { Stdio::piped() }).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(format!("{} cannot be started: {error}", named.display())))?;
    if let (Some(input), Some(mut stdin)) = (&step.input, child.stdin.take()) {
        // A program that ends without reading says why by itself.
        let _ = stdin.write_all(input.expose().as_bytes()).await;
        drop(stdin);
    }
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let exists = ["already exists", "ALREADY_EXISTS", "alreadyExists"].iter().any(|words| said.contains(words));
    if !output.status.success() && !exists {
        let said = said.lines().last().unwrap_or_default().to_owned();
        return Err(failed(if said.is_empty() { output.status.to_string() } else { said }));
    }
    let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let told = match step.tells {
        Some(URL) => answer.starts_with("https://"),
        Some(_) => !answer.is_empty() && !answer.contains(char::is_whitespace),
        None => true,
    };
    if told { Ok(answer) } else { Err(failed("it did not tell an address".to_owned())) }
}
