//! `windlass keys`: recovery phrases, key files, and the promises that keys have made.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use windlass_keys::keystore::Strength;
use windlass_keys::{Coin, Keystore, LocalSigner, Mnemonic, Secret, SecretSource, Signer as _, sign_once};
use windlass_store::Store;

use super::store;
use crate::exit::Usage;
use crate::global::Global;
use crate::output::{Output, note, table};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a fresh recovery phrase and show its first addresses
    New(New),
    /// Show the addresses of a recovery phrase
    Derive(Derive),
    /// Put a private key or an account of a phrase into a key file (Web3 Secret Storage)
    Import(Import),
    /// Print the private key of a key file
    Export(Export),
    /// List the key files of a folder
    List(List),
    /// Move the sign-once promises between installations
    #[command(subcommand)]
    SignOnce(SignOnce),
}

/// A coin family on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CoinName {
    Ethereum,
    Bitcoin,
    Cosmos,
    Band,
}

impl From<CoinName> for Coin {
    fn from(name: CoinName) -> Self {
        match name {
            CoinName::Ethereum => Self::Ethereum,
            CoinName::Bitcoin => Self::Bitcoin,
            CoinName::Cosmos => Self::Cosmos,
            CoinName::Band => Self::Band,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// Number of words: 12, 15, 18, 21 or 24
    #[arg(long, default_value_t = 24, value_parser = parse_words)]
    words: usize,
    /// How many addresses to derive
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Whose addresses
    #[arg(long, value_enum, default_value_t = CoinName::Ethereum)]
    coin: CoinName,
}

fn parse_words(text: &str) -> Result<usize, String> {
    let lengths = [12, 15, 18, 21, 24];
    text.parse().ok().filter(|words| lengths.contains(words)).ok_or_else(|| "a phrase has 12, 15, 18, 21 or 24 words".to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct Derive {
    /// Where the phrase is: env:NAME, file:PATH or command:PROGRAM …
    #[arg(long, value_name = "SOURCE")]
    phrase: SecretSource,
    /// BIP-39 passphrase, if the phrase has one: env:NAME, file:PATH or command:PROGRAM …
    #[arg(long, value_name = "SOURCE")]
    passphrase: Option<SecretSource>,
    /// How many addresses to derive
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Whose addresses
    #[arg(long, value_enum, default_value_t = CoinName::Ethereum)]
    coin: CoinName,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Where the private key is: env:NAME, file:PATH or command:PROGRAM …
    #[arg(long, value_name = "SOURCE", required_unless_present = "phrase", conflicts_with = "phrase")]
    private_key: Option<SecretSource>,
    /// Where the recovery phrase is: env:NAME, file:PATH or command:PROGRAM …
    #[arg(long, value_name = "SOURCE")]
    phrase: Option<SecretSource>,
    /// Which account of the phrase
    #[arg(long, default_value_t = 0, requires = "phrase")]
    index: u32,
    /// Where the password for the key file is: env:NAME, file:PATH or command:PROGRAM …
    #[arg(long, value_name = "SOURCE")]
    password: SecretSource,
    /// The key file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Make guessing the password cheap (4 MiB instead of 256 MiB): for tests and very small machines
    #[arg(long)]
    light: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The key file
    keystore: PathBuf,
    /// Where its password is: env:NAME, file:PATH or command:PROGRAM …
    #[arg(long, value_name = "SOURCE")]
    password: SecretSource,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SignOnce {
    /// Write every promise to a file, one JSON object per line
    Export {
        /// Database URL (sqlite:PATH or postgres://…) instead of the configuration's
        #[arg(long, env = "WINDLASS_STORE_URL", hide_env_values = true)]
        store: Option<String>,
        /// The file to write; it must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Take over the promises of another installation: all, or none at the first conflict
    Import {
        /// Database URL (sqlite:PATH or postgres://…) instead of the configuration's
        #[arg(long, env = "WINDLASS_STORE_URL", hide_env_values = true)]
        store: Option<String>,
        /// The file to read
        file: PathBuf,
    },
}

#[derive(Serialize)]
struct Address {
    index: u32,
    path: String,
    address: String,
}

#[derive(Serialize)]
struct Wallet {
    #[serde(skip_serializing_if = "Option::is_none")]
    phrase: Option<String>,
    coin: &'static str,
    addresses: Vec<Address>,
}

pub(crate) async fn run(command: Command, global: &Global, output: Output) -> anyhow::Result<()> {
    match command {
        Command::New(new) => {
            let mnemonic = Mnemonic::generate(new.words)?;
            note("Write the phrase down and keep it secret: it is shown only here and stored nowhere.");
            let mut wallet = wallet(&mnemonic, &Secret::new(String::new()), new.coin.into(), new.count)?;
            wallet.phrase = Some(mnemonic.phrase().expose().clone());
            print_wallet(&wallet, output)
        }
        Command::Derive(derive) => {
            let mnemonic = Mnemonic::parse(&resolve("--phrase", &derive.phrase)?)?;
            let passphrase = match &derive.passphrase {
                Some(source) => resolve("--passphrase", source)?,
                None => Secret::new(String::new()),
            };
            let wallet = wallet(&mnemonic, &passphrase, derive.coin.into(), derive.count)?;
            print_wallet(&wallet, output)
        }
        Command::Import(import) => run_import(&import, output),
        Command::Export(export) => {
            let password = resolve("--password", &export.password)?;
            let signer = Keystore::read(&export.keystore)?.decrypt(&password)?;
            note("The line below is the private key. Whoever reads it owns the account.");
            let key = alloy_primitives::hex::encode_prefixed(signer.to_bytes().as_slice());
            output.result(&key, String::clone)?;
            Ok(())
        }
        Command::List(list) => run_list(&list.folder, output),
        Command::SignOnce(command) => run_sign_once(command, global, output).await,
    }
}

/// Fetches a secret named on the command line. A plain one is refused: every user of the machine can read a process list.
fn resolve(option: &str, source: &SecretSource) -> anyhow::Result<Secret<String>> {
    if source.is_plain() {
        let text = format!(
            "{option} must not be the secret itself, because command lines can be read by others\n\
             hint: put it into a file and give file:PATH, or use env:NAME or command:PROGRAM"
        );
        return Err(Usage(text).into());
    }
    source.resolve().with_context(|| format!("cannot get {option}"))
}

fn wallet(mnemonic: &Mnemonic, passphrase: &Secret<String>, coin: Coin, count: u32) -> anyhow::Result<Wallet> {
    let addresses = (0..count)
        .map(|index| {
            let account = mnemonic.derive(coin, index, passphrase)?;
            Ok(Address { index, path: account.path, address: account.address })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Wallet { phrase: None, coin: coin.name(), addresses })
}

fn print_wallet(wallet: &Wallet, output: Output) -> anyhow::Result<()> {
    output.result(wallet, |wallet| {
        let rows: Vec<_> =
            wallet.addresses.iter().map(|a| vec![a.index.to_string(), a.path.clone(), a.address.clone()]).collect();
        let addresses = table(&["index", "path", "address"], &rows);
        match &wallet.phrase {
            Some(phrase) => format!("{phrase}\n\n{addresses}"),
            None => addresses,
        }
    })?;
    Ok(())
}

#[derive(Serialize)]
struct KeyFile {
    address: Option<String>,
    file: PathBuf,
}

fn run_import(import: &Import, output: Output) -> anyhow::Result<()> {
    let signer = match (&import.private_key, &import.phrase) {
        (Some(source), _) => LocalSigner::from_hex(&resolve("--private-key", source)?)?,
        (None, Some(source)) => {
            Mnemonic::parse(&resolve("--phrase", source)?)?
                .derive(Coin::Ethereum, import.index, &Secret::new(String::new()))?
                .signer
        }
        (None, None) => bail!("give --private-key or --phrase"),
    };
    let strength = if import.light { Strength::Light } else { Strength::Standard };
    let password = resolve("--password", &import.password)?;
    Keystore::encrypt(&signer, &password, strength)?.write(&import.out)?;
    let written = KeyFile { address: Some(signer.address().to_checksum(None)), file: import.out.clone() };
    output
        .result(&written, |written| format!("{} {}", written.address.as_deref().unwrap_or_default(), written.file.display()))?;
    Ok(())
}

fn run_list(folder: &Path, output: Output) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        // Other files may lie beside key files; only what reads as one is listed.
        if let Ok(keystore) = Keystore::read(&path) {
            let address = keystore.claimed_address()?.map(|address| address.to_checksum(None));
            files.push(KeyFile { address, file: path });
        }
    }
    files.sort_by(|a, b| a.file.cmp(&b.file));
    output.result(&files, |files| {
        let rows: Vec<_> = files
            .iter()
            .map(|key| vec![key.address.clone().unwrap_or_else(|| "(not said)".to_owned()), key.file.display().to_string()])
            .collect();
        table(&["address", "file"], &rows)
    })?;
    Ok(())
}

async fn run_sign_once(command: SignOnce, global: &Global, output: Output) -> anyhow::Result<()> {
    match command {
        SignOnce::Export { store, out } => {
            let store = promises(store::open_existing(store.as_deref(), global).await?).await?;
            let file = File::create_new(&out).with_context(|| format!("cannot create {}", out.display()))?;
            let mut writer = BufWriter::new(&file);
            let written = sign_once::export(&store, &mut writer).await?;
            writer.flush()?;
            drop(writer);
            file.sync_all()?;
            output.result(&written, |written| format!("{written} promises written"))?;
        }
        SignOnce::Import { store, file } => {
            let opened = File::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
            let store = promises(store::open(store.as_deref(), global).await?).await?;
            let report = sign_once::import(&store, &mut BufReader::new(opened)).await?;
            let counts = serde_json::json!({ "added": report.added, "known": report.known });
            output.result(&counts, |_| format!("{} promises added, {} were known", report.added, report.known))?;
        }
    }
    Ok(())
}

/// The database with the tables of the promises.
async fn promises(store: Store) -> anyhow::Result<Store> {
    store.migrate(&sign_once::MIGRATIONS).await?;
    Ok(store)
}
