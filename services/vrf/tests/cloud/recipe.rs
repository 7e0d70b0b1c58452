//! The commands of the recipe, and what happens when they are carried out.

use std::path::{Path, PathBuf};

use clap::Parser;
use proptest::prelude::*;
use serde_json::Value;
use windlass_node::config::SecretText;
use windlass_node::dotenv::{Comments, parse};
use windlass_vrf::cloud::cli::{RecipeArgs, recipe_command, recipe_config};
use windlass_vrf::cloud::recipe::{RecipeConfig, RecipeSecret, Step, URL, recipe, run};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    recipe: RecipeArgs,
}

fn args(line: &str) -> RecipeArgs {
    Line::parse_from(std::iter::once("recipe").chain(line.split_whitespace())).recipe
}

const ENV: &str = "CHAIN=ASTAR\nEVM_JSON_RPC_ENDPOINTS=https://rpc.example/hunter2,https://b.example\nBAND_GRPC_ENDPOINTS=a:443,b:443\n\
                   WHITELISTED_CALLERS=0x1,0x2\nWORKER_PK=hunter2\nBAND_MNEMONIC=hunter2 words\nDB_USER=relay\nDB_PASSWORD=hunter2\nDB_NAME=postgres\n\
                   DB_HOST=10.1.2.3\nDB_CONNECTION_NAME=my-project:asia-southeast1:vrf-db\nPROJECT_ID=my-project\nREGION=asia-southeast1\n\
                   SERVICE_NAME=vrf-astar\nVPC_CONNECTOR=default\nQUEUE=queue1\nIN_SECONDS=5\nDEADLINE=60\nRUN_LOCAL=True\nPORT=8080\n\
                   SERVICE_ACCOUNT_DETAIL=vrf-worker@my-project.iam.gserviceaccount.com\nDISCORD_WEBHOOK=<DISCORD_WEBHOOK>\n";

fn config() -> RecipeConfig {
    recipe_config(&args("--image ghcr.io/example/windlass:0.1.0"), &parse(ENV, Comments::AfterBlank))
}

fn page(steps: &[Step]) -> String {
    (1..).zip(steps).map(|(number, step): (u32, &Step)| format!("{number}. {}\n{step}\n\n", step.title)).collect()
}

#[test]
fn the_whole_deployment() {
    let config = config();
    assert_eq!(config.problems(), Vec::<String>::new());
    let steps = recipe(&config);
    let page = page(&steps);
    assert!(!page.contains("hunter2") && !format!("{steps:?}").contains("hunter2"));
    insta::assert_snapshot!(page);
    // The rules that the former deployment had.
    let line = |begin: &str| page.lines().find(|line| line.starts_with(begin)).unwrap().to_owned();
    let queue = line("gcloud tasks queues create");
    assert!(queue.contains("--max-concurrent-dispatches=1") && queue.contains("--max-attempts=1"));
    let deploy = line("gcloud run deploy");
    for part in
        ["--no-allow-unauthenticated", "--add-cloudsql-instances=my-project:asia-southeast1:vrf-db", "--vpc-connector=default"]
    {
        assert!(deploy.contains(part), "{deploy}");
    }
    for secret in ["WORKER_PK=WORKER_PK:latest", "BAND_MNEMONIC=BAND_MNEMONIC:latest", "DB_PASSWORD=DB_PASSWORD:latest"] {
        assert!(deploy.contains(secret), "{deploy}");
    }
}

#[test]
fn the_example_says_everything_but_the_image() {
    let text = include_str!("../../../../deploy/google-cloud/.env.example");
    let file = parse(text, Comments::AfterBlank);
    assert_eq!(recipe_config(&args(""), &file).problems(), ["--image is missing"]);
    let config = recipe_config(&args("--image i"), &file);
    assert!(config.secrets.iter().all(|secret| secret.value.is_none() || secret.name == "EVM_JSON_RPC_ENDPOINTS"));
    assert!(!config.variables.iter().any(|(name, _)| ["WORKER_PK", "PORT", "RUN_LOCAL"].contains(&name.as_str())));
}

#[test]
fn a_deployment_without_a_database_and_with_little_running() {
    let config = recipe_config(
        &args("--project p --region r --image i --no-database --scale-to-zero --account relay-account"),
        &parse("", Comments::AfterBlank),
    );
    assert_eq!(config.problems(), Vec::<String>::new());
    let page = page(&recipe(&config));
    assert!(!page.contains("sql") && !page.contains("DB_") && !page.contains("vpc"), "{page}");
    assert!(page.contains("--min-instances=0 --cpu-throttling"));
}

#[test]
fn what_is_missing_is_told_together() {
    let problems = recipe_config(&args("--account abc --watchdog-minutes 0"), &parse("", Comments::AfterBlank)).problems();
    assert_eq!(problems.len(), 5, "{problems:?}");
    assert!(problems.contains(&"--project is missing".to_owned()));
}

proptest! {
    #[test]
    fn variables_of_any_text_stay_apart(pairs in prop::collection::vec(("[A-Z_]{1,8}", "[ -~]{0,20}"), 0..6)) {
        let mut config = config();
        config.variables.clone_from(&pairs);
        let steps = recipe(&config);
        let argument = steps.iter().flat_map(|step| &step.command).find(|word| word.starts_with("--set-env-vars=")).unwrap();
        let list = argument.strip_prefix("--set-env-vars=^").unwrap();
        let (separator, list) = list.split_once('^').unwrap();
        let found: Vec<(String, String)> =
            list.split(separator).map(|pair| pair.split_once('=').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        prop_assert_eq!(&found[..pairs.len()], &pairs[..]);
    }

    #[test]
    fn a_printed_command_is_the_command(words in prop::collection::vec("[ -~\n]{0,12}", 1..5)) {
        let step = Step { command: words.clone(), ..Step::default() };
        let script = format!("printf '%s\\0' {step}");
        let output = std::process::Command::new("/bin/sh").arg("-c").arg(script).output().unwrap();
        let printed: Vec<String> =
            String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect();
        prop_assert_eq!(printed, words);
    }
}

/// A program that notes how it was called, and does as a script says.
struct Program {
    folder: tempfile::TempDir,
}

impl Program {
    fn new(more: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gcloud");
        let log = folder.path().join("log").display().to_string();
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {log}\ncase \"$*\" in\n{more}\n*'run services describe'*) echo https://vrf-astar.a.run.app;;\n\
             *'sql instances describe'*) echo 10.9.8.7;;\n\
             *'secrets versions add'*) cat >> {log}; echo >> {log};;\nesac\n"
        );
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("gcloud")
    }

    fn calls(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

/// Steps of the recipe that ask nobody.
fn steps() -> Vec<Step> {
    let mut steps = recipe(&config());
    for step in &mut steps {
        step.asks = false;
    }
    steps
}

async fn carry_out(steps: &[Step], first: usize, program: &Path) -> Result<Vec<usize>, String> {
    let mut told = Vec::new();
    run(steps, first, Some(&program.as_os_str().to_owned()), |number, _| told.push(number))
        .await
        .map_err(|error| format!("{error}; {}", error.hint()))?;
    Ok(told)
}

#[tokio::test]
async fn the_steps_are_carried_out_with_the_address_in_its_places() {
    let (program, steps) = (Program::new(""), steps());
    let told = carry_out(&steps, 1, &program.path()).await.unwrap();
    assert_eq!(told, (1..=steps.len()).collect::<Vec<_>>());
    let calls = program.calls();
    assert!(calls.iter().any(|line| line == "hunter2 words"), "the secret goes through standard input");
    assert!(!calls.iter().any(|line| line.contains(URL)));
    assert!(calls.iter().any(|line| line.contains("--url=https://vrf-astar.a.run.app ")));
    assert!(
        calls.iter().any(|line| line.contains("CLOUD_RUN_URL=https://vrf-astar.a.run.app##AUDIENCE=https://vrf-astar.a.run.app"))
    );
}

#[tokio::test]
async fn a_failure_says_where_to_go_on_and_what_exists_is_done() {
    let steps = steps();
    let program = Program::new(
        "*'iam service-accounts create'*) echo 'ERROR: resource already exists' >&2; exit 1;;\n\
         *'tasks queues create'*) echo 'first line' >&2; echo 'ERROR: PERMISSION_DENIED' >&2; exit 1;;",
    );
    let number = 1 + steps.iter().position(|step| step.title == "make the task queue").unwrap();
    let error = carry_out(&steps, 1, &program.path()).await.unwrap_err();
    assert_eq!(
        error,
        format!(
            "step {number} (make the task queue) failed: ERROR: PERMISSION_DENIED; correct the cause and go on with --from-step {number}"
        )
    );
    // Going on, also behind the step that tells the address.
    let program = Program::new("");
    let last = steps.len();
    assert_eq!(carry_out(&steps, last, &program.path()).await.unwrap(), [last]);
    let calls = program.calls();
    assert!(
        calls.len() == 2 && calls[0].contains("run services describe") && calls[1].contains("--uri=https://vrf-astar.a.run.app")
    );
    for (first, says) in [(0, "there is no step 0"), (last + 1, "there is no step")] {
        assert!(carry_out(&steps, first, &program.path()).await.unwrap_err().contains(says));
    }
    let error = carry_out(&steps, 1, Path::new("/nowhere/gcloud")).await.unwrap_err();
    assert!(error.contains("cannot be started"), "{error}");
    let program = Program::new("*'run services describe'*) ;;");
    let error = carry_out(&steps, last, &program.path()).await.unwrap_err();
    assert!(error.contains("it did not tell an address"), "{error}");
}

#[tokio::test]
async fn the_address_of_a_new_database_is_asked_for() {
    let mut config = config();
    config.database.as_mut().unwrap().host = None;
    let mut steps = recipe(&config);
    for step in &mut steps {
        step.asks = false;
    }
    let number = 1 + steps.iter().position(|step| step.title == "deploy the service").unwrap();
    let program = Program::new("");
    assert_eq!(carry_out(&steps[..number], number, &program.path()).await.unwrap(), [number]);
    let calls = program.calls();
    assert!(
        calls.len() == 2 && calls[0].contains("sql instances describe vrf-db") && calls[1].contains("##DB_HOST=10.9.8.7##"),
        "{calls:?}"
    );
}

async fn command(arguments: &RecipeArgs, json: bool) -> (u8, String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let code = recipe_command(arguments, &mut stdout, &mut stderr, json).await;
    (code, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn the_command_prints_unless_told_to_carry_out() {
    let program = Program::new("");
    let file = program.folder.path().join(".env");
    std::fs::write(&file, ENV).unwrap();
    let line = format!("--env {} --image i --gcloud {}", file.display(), program.path().display());
    let (code, stdout, stderr) = command(&args(&line), false).await;
    assert!(
        code == 0 && stdout.starts_with("# 1. switch the services of the project on: takes a minute") && stderr.is_empty(),
        "{stderr}"
    );
    assert!(!stdout.contains("hunter2") && program.calls().is_empty());
    let (code, stdout, _) = command(&args(&line), true).await;
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, document[0]["step"].as_u64(), document[0]["command"][0].as_str()), (0, Some(1), Some("gcloud")));
    let (code, stdout, stderr) = command(&args("--project p"), false).await;
    assert!(
        code == 2 && stdout.is_empty() && stderr.contains("error: --region is missing") && stderr.contains("hint: "),
        "{stderr}"
    );
    let last = recipe(&config()).len();
    let (code, stdout, stderr) = command(&args(&format!("{line} --execute --from-step {last}")), false).await;
    assert!(
        code == 0 && stdout.is_empty() && stderr.contains(&format!("step {last} of {last}: call the service now and then")),
        "{stderr}"
    );
    assert_eq!(program.calls().len(), 2);
}

#[test]
fn a_secret_is_given_by_the_operator_where_the_file_has_none() {
    let mut config = config();
    config.secrets = vec![
        RecipeSecret { name: "A".to_owned(), value: None },
        RecipeSecret { name: "B".to_owned(), value: Some(SecretText::new("hunter2")) },
    ];
    let steps = recipe(&config);
    let fill = |name: &str| steps.iter().find(|step| step.title == format!("give the secret {name} its value")).unwrap();
    assert!(fill("A").asks && fill("A").input.is_none());
    assert!(!fill("B").asks && fill("B").input.is_some());
}
