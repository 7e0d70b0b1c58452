//! `cli`: the one-shot commands `monitor` and `deploy`, run for real against a chain, and the text forms they read.

use std::collections::BTreeMap;

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, SolValue};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use windlass_chain::CallRequest;
use windlass_contracts::{KeyperPayer, TestToken, init_code};
use windlass_payer::cli::deploy::{DeployOptions, SettingsError, VARIABLES, deploy};
use windlass_payer::cli::env::{Environment, Exit, Precedence};
use windlass_payer::cli::monitor::{MonitorOptions, monitor};
use windlass_payer::protocol::{abi, parse_address_form, parse_integer};

use super::super::{read, same};
use crate::{Bench, Chain, Deviation, Sheet};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "format")]
    _format: String,
    #[serde(rename = "produced_by")]
    _produced_by: String,
    note: Note,
    monitor: Vec<MonitorCase>,
    deploy: Vec<DeployCase>,
    address_parsing: Vec<AddressCase>,
    integer_parsing: Vec<IntegerCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    #[serde(rename = "monitor_symbols")]
    _monitor_symbols: BTreeMap<String, String>,
    #[serde(rename = "meaning")]
    _meaning: String,
    deploy_base_env: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MonitorCase {
    name: String,
    #[serde(rename = "about")]
    _about: Option<String>,
    env: BTreeMap<String, String>,
    exit_code: Option<u8>,
    ends: bool,
    stderr_lines: Option<Vec<String>>,
    #[serde(rename = "stderr_first_line_of_original")]
    _library_error: Option<Vec<String>>,
    command_ran: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeployCase {
    name: String,
    #[serde(rename = "about")]
    _about: Option<String>,
    env_changes: BTreeMap<String, Option<String>>,
    exit_code: u8,
    stdout_lines: Option<Vec<String>>,
    stderr_first_line_of_original: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressCase {
    text: String,
    accepted: bool,
    checksummed: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IntegerCase {
    text: String,
    value: Option<String>,
}

/// The first development account; its key is public knowledge.
const FUNDED_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// Checks the document.
pub(crate) async fn run(bench: &Bench, document: Value, sheet: &mut Sheet) -> anyhow::Result<()> {
    let document: Document = read(document, "keyper-payer/cli/1")?;
    let scene = Scene::set(bench.chain().await?).await?;
    for case in &document.monitor {
        let mut deviation = None;
        let result = check_monitor(&scene, case, &mut deviation).await;
        sheet.case(&format!("monitor {}", case.name), result);
        sheet.deviations.extend(deviation);
    }
    for case in &document.deploy {
        let mut deviation = None;
        let result = check_deploy(&scene, &document.note.deploy_base_env, case, &mut deviation).await;
        sheet.case(&format!("deploy {}", case.name), result);
        sheet.deviations.extend(deviation);
    }
    for case in &document.address_parsing {
        sheet.case(&format!("address {:?}", case.text), check_address(case));
    }
    for case in &document.integer_parsing {
        sheet.case(&format!("integer {:?}", case.text), check_integer(case));
    }
    Ok(())
}

/// The contracts that the symbols of a document stand for.
struct Scene<'a> {
    chain: &'a Chain,
    token: Address,
    symbols: BTreeMap<&'static str, Address>,
}

impl<'a> Scene<'a> {
    async fn set(chain: &'a Chain) -> anyhow::Result<Self> {
        let deployer = Address::repeat_byte(0xD1);
        let arguments = TestToken::constructorCall { name_: "Test token".into(), symbol_: "TEST".into(), decimals_: 18 };
        let token = chain.create(deployer, &init_code(&TestToken::BYTECODE, &arguments)).await?;
        let keypers = vec![Address::repeat_byte(0xA1), Address::repeat_byte(0xA2)];
        let terms = |rate, start| {
            let (requested_rate, start_timestamp) = (rate, U256::from(start));
            abi::Deployment { token, keypers: keypers.clone(), requested_rate, start_timestamp }.creation_data()
        };
        let one = U256::from(1);
        let paid = chain.create(deployer, &terms(one, 0)).await?;
        // A unit a second since 1970 and for thousands of years to come.
        let amount = U256::from(1_u64 << 40);
        for (to, data) in [
            (token, TestToken::mintCall { to: deployer, amount }.abi_encode().into()),
            (token, abi::approve(paid, amount)),
            (paid, abi::pay(amount)),
        ] {
            ensure!(chain.execute(deployer, Some(to), &data).await?.succeeded(), "a payment that should succeed reverts");
        }
        let symbols = BTreeMap::from([
            ("@paid", paid),
            ("@unpaid", chain.create(deployer, &terms(one, 0)).await?),
            ("@future", chain.create(deployer, &terms(one, 1_u64 << 40)).await?),
            ("@overflow", chain.create(deployer, &terms(U256::MAX, 0)).await?),
            ("@token", token),
        ]);
        Ok(Self { chain, token, symbols })
    }

    /// Replaces a symbol by what it stands for. `@name`, with `_lower`, `_upper` or `_no0x` for the way it is written.
    fn value(&self, text: &str) -> anyhow::Result<String> {
        if text.starts_with('@') {
            let (name, form) = text.split_once('_').unwrap_or((text, ""));
            let address = self.symbols.get(name).with_context(|| format!("the symbol {text} is not known"))?.to_string();
            return Ok(match form {
                "" => address,
                "lower" => address.to_lowercase(),
                "upper" => format!("0x{}", address.trim_start_matches("0x").to_uppercase()),
                "no0x" => address.trim_start_matches("0x").to_owned(),
                _ => bail!("the symbol {text} is not known"),
            });
        }
        Ok(match text {
            "<rpc>" => self.chain.url().to_owned(),
            "<token>" => self.token.to_string(),
            "<a funded 32-byte key>" => FUNDED_KEY.to_owned(),
            _ if text.starts_with('<') && text.ends_with('>') => bail!("the symbol {text} is not known"),
            _ => text.to_owned(),
        })
    }
}

fn environment(variables: BTreeMap<String, String>) -> Environment {
    Environment::new(variables, "", Precedence::default())
}

/// The lines of an output that are recorded: all that are not empty.
fn lines(output: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(output).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

async fn check_monitor(scene: &Scene<'_>, case: &MonitorCase, deviation: &mut Option<Deviation>) -> anyhow::Result<()> {
    let mut variables = BTreeMap::new();
    for (name, value) in &case.env {
        variables.insert(name.clone(), scene.value(value)?);
    }
    let mut stderr = Vec::new();
    let exit = monitor(&environment(variables.clone()), MonitorOptions::default(), &mut stderr).await;
    let said = lines(&stderr);
    match (case.ends, case.exit_code) {
        (true, Some(recorded)) => {
            ensure!(exit as u8 == recorded, "exit code {}, recorded is {recorded}; it said: {said:?}", exit as u8)
        }
        // The original asked again for ever.
        (false, None) => {
            ensure!(
                exit == Exit::CannotTell,
                "exit code {}, an endpoint that cannot be asked gives {}",
                exit as u8,
                Exit::CannotTell as u8
            );
            *deviation = Some(Deviation {
                case: format!("monitor {}", case.name),
                recorded: "does not end".to_owned(),
                ours: format!("exit {}: {}", exit as u8, said.first().map_or("", String::as_str)),
                section: "5.2",
            });
        }
        (ends, code) => bail!("ends={ends} does not go with exit_code={code:?}"),
    }
    match &case.stderr_lines {
        Some(recorded) => same("stderr", &said, recorded)?,
        None => ensure!(exit != Exit::Success || said.is_empty(), "it succeeded and said {said:?}"),
    }
    let ran = variables.get("UNPAID_COMMAND").is_some_and(|command| !command.is_empty()) && traces(&variables).await?;
    same("the command ran", ran, case.command_ran)
}

/// Runs the check again with a command that leaves a trace in place of the case's own.
async fn traces(variables: &BTreeMap<String, String>) -> anyhow::Result<bool> {
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("ran");
    let mut variables = variables.clone();
    variables.insert("UNPAID_COMMAND".to_owned(), format!("touch '{}'", trace.display()));
    monitor(&environment(variables), MonitorOptions::default(), &mut Vec::new()).await;
    Ok(trace.exists())
}

async fn check_deploy(
    scene: &Scene<'_>,
    base: &BTreeMap<String, String>,
    case: &DeployCase,
    deviation: &mut Option<Deviation>,
) -> anyhow::Result<()> {
    let mut variables = BTreeMap::new();
    for (name, value) in base {
        variables.insert(name.clone(), scene.value(value)?);
    }
    for (name, change) in &case.env_changes {
        match change {
            Some(value) => variables.insert(name.clone(), scene.value(value)?),
            None => variables.remove(name),
        };
    }
    let options = DeployOptions { default_rpc_url: scene.chain.url().to_owned(), ..DeployOptions::default() };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = deploy(&environment(variables.clone()), &options, &mut stdout, &mut stderr).await as u8;
    let (printed, said) = (lines(&stdout), lines(&stderr));
    if exit == 0 {
        check_deployed(scene.chain, &printed).await?;
    } else {
        ensure!(printed.is_empty(), "it failed and printed {printed:?}");
    }
    let message = case.stderr_first_line_of_original.as_deref().and_then(<[String]>::first);
    let own = message.filter(|message| is_own_validation(message));
    if exit == 0 && case.exit_code == 1 && own == Some(&SettingsError::KeypersNotAddresses.to_string()) && has_blanks(&variables)
    {
        *deviation = Some(Deviation {
            case: format!("deploy {}", case.name),
            recorded: format!("exit 1: {}", own.map_or("", String::as_str)),
            ours: "exit 0: blanks around entries are ignored".to_owned(),
            section: "4.5",
        });
        return Ok(());
    }
    ensure!(exit == case.exit_code, "exit code {exit}, recorded is {}; it said: {said:?}", case.exit_code);
    if let Some(own) = own {
        same("stderr", said.first(), Some(own))?;
    }
    match &case.stdout_lines {
        Some(recorded) => same("stdout", printed.clone(), expected_lines(scene, recorded, &printed)?),
        None => {
            ensure!(exit != 0, "it succeeded, but no output is recorded");
            Ok(())
        }
    }
}

/// Whether a message is one of the command's own, which must be the same, or a library's, which need not. The command's own
/// start with the name of a variable.
fn is_own_validation(message: &str) -> bool {
    message.split(' ').next().is_some_and(|name| VARIABLES.contains(&name))
}

/// Whether an entry of the keyper list has blanks around it: the one thing that is accepted here and was not before.
fn has_blanks(variables: &BTreeMap<String, String>) -> bool {
    variables.get("KEYPER_ADDRESSES").is_some_and(|list| list.split(',').any(|entry| entry.trim() != entry))
}

/// The recorded lines with `<token>` and `<address>` filled in. The address is the one we printed; what is there is checked
/// separately.
fn expected_lines(scene: &Scene<'_>, recorded: &[String], printed: &[String]) -> anyhow::Result<Vec<String>> {
    let address = printed_address(printed)?.to_string();
    let fill = |line: &String| line.replace("<token>", &scene.token.to_string()).replace("<address>", &address);
    Ok(recorded.iter().map(fill).collect())
}

fn printed_address(printed: &[String]) -> anyhow::Result<Address> {
    let text = printed.first().and_then(|line| line.strip_prefix("KeyperPayer deployed to ")?.strip_suffix('.'));
    let text = text.context("the first line names no address")?;
    Ok(Address::parse_checksummed(text, None)?)
}

/// The contract at the printed address answers with the printed terms.
async fn check_deployed(chain: &Chain, printed: &[String]) -> anyhow::Result<()> {
    let contract = printed_address(printed)?;
    let calls = [
        KeyperPayer::sptTokenAddressCall {}.abi_encode(),
        KeyperPayer::getKeypersCall {}.abi_encode(),
        KeyperPayer::requestedRateCall {}.abi_encode(),
        KeyperPayer::startTimestampCall {}.abi_encode(),
    ];
    let answers = chain.read_all(calls.map(|data| CallRequest::new(contract, data)).into()).await?;
    let [token, keypers, rate, start]: [Bytes; 4] = answers.try_into().map_err(|_| anyhow::anyhow!("four answers expected"))?;
    let keypers: Vec<String> = abi::decode_keypers(&keypers).context("no keypers")?.iter().map(Address::to_string).collect();
    let expected = [
        format!(" tokenAddress: {},", Address::abi_decode_validate(&token)?),
        format!(" keyperAddresses: {},", keypers.join(",")),
        format!(" requestedRate: {},", U256::abi_decode_validate(&rate)?),
        format!(" startTimestamp: {}", U256::abi_decode_validate(&start)?),
    ];
    same("the printed terms", printed.get(1..).unwrap_or_default(), expected.as_slice())
}

fn check_address(case: &AddressCase) -> anyhow::Result<()> {
    let parsed = parse_address_form(&case.text).ok();
    same("accepted", parsed.is_some(), case.accepted)?;
    same("checksummed", parsed.map(|parsed| parsed.address.to_string()), case.checksummed.clone())
}

fn check_integer(case: &IntegerCase) -> anyhow::Result<()> {
    same("value", parse_integer(&case.text).ok().map(|value| value.to_string()), case.value.clone())
}
