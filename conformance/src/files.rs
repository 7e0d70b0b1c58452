//! Which vector files are run.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The vector directory and the protocols in it.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Holds one folder per protocol.
    pub directory: PathBuf,
    /// The protocols to run; each must be there. Empty: all that are there.
    pub protocols: Vec<String>,
}

/// One vector file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorFile {
    /// Name of its folder.
    pub protocol: String,
    /// Its name without `.json`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Selection {
    /// The project's own vectors, all of them.
    pub fn own() -> Self {
        Self { directory: Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors"), protocols: Vec::new() }
    }

    /// `WINDLASS_VECTORS` names another directory, `WINDLASS_PROTOCOLS` the protocols, separated by commas.
    pub fn from_environment() -> Self {
        let mut selection = Self::own();
        if let Some(directory) = std::env::var_os("WINDLASS_VECTORS").filter(|directory| !directory.is_empty()) {
            selection.directory = directory.into();
        }
        let protocols = std::env::var("WINDLASS_PROTOCOLS").unwrap_or_default();
        selection.protocols = protocols.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
        selection
    }

    /// All files, in order of protocol and name.
    ///
    /// # Errors
    /// If the directory or a named protocol is not there, or a protocol has no file.
    pub fn files(&self) -> anyhow::Result<Vec<VectorFile>> {
        let present = names(&self.directory, |path| path.is_dir())?;
        let protocols = if self.protocols.is_empty() { &present } else { &self.protocols };
        let mut files = Vec::new();
        for protocol in protocols {
            if !present.contains(protocol) {
                bail!("there is no protocol {protocol} in {}; there are: {}", self.directory.display(), present.join(", "));
            }
            let folder = self.directory.join(protocol);
            let in_folder = names(&folder, |path| path.extension().is_some_and(|extension| extension == "json"))?;
            if in_folder.is_empty() {
                bail!("there is no vector file in {}", folder.display());
            }
            files.extend(in_folder.into_iter().map(|file| VectorFile {
                protocol: protocol.clone(),
                name: file.trim_end_matches(".json").to_owned(),
                path: folder.join(&file),
            }));
        }
        Ok(files)
    }
}

impl VectorFile {
    /// The document in the file.
    ///
    /// # Errors
    /// If it cannot be read or is not JSON.
    pub fn read(&self) -> anyhow::Result<serde_json::Value> {
        let text = std::fs::read(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", self.path.display()))
    }
}

/// The name of the runner: the file name without a trailing `-<number>`.
pub(crate) fn runner_name(file: &str) -> &str {
    match file.rsplit_once('-') {
        Some((name, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => file,
    }
}

fn names(folder: &Path, wanted: impl Fn(&Path) -> bool) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read the folder {}", folder.display()))?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && wanted(&entry.path())
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_number_is_no_part_of_the_name() {
        for (file, name) in [
            ("relay-calls-home-0", "relay-calls-home"),
            ("contract_sequences", "contract_sequences"),
            ("contract_sequences-12", "contract_sequences"),
            ("reward-median-fip16", "reward-median-fip16"),
            ("trailing-", "trailing-"),
        ] {
            assert_eq!(runner_name(file), name);
        }
    }

    #[test]
    fn missing_and_empty_protocols_are_faults() {
        let directory = tempfile::tempdir().unwrap();
        let selection = |protocols: &[&str]| Selection {
            directory: directory.path().to_owned(),
            protocols: protocols.iter().map(|name| name.to_string()).collect(),
        };
        assert_eq!(selection(&[]).files().unwrap(), []);
        assert!(selection(&["vrf"]).files().unwrap_err().to_string().contains("no protocol vrf"));
        std::fs::create_dir(directory.path().join("vrf")).unwrap();
        assert!(selection(&[]).files().unwrap_err().to_string().contains("no vector file"));
        std::fs::write(directory.path().join("vrf/seed-1.json"), "{}").unwrap();
        std::fs::write(directory.path().join("vrf/notes.md"), "").unwrap();
        let files = selection(&["vrf"]).files().unwrap();
        assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["seed-1"]);
        let nowhere = Selection { directory: directory.path().join("nowhere"), protocols: Vec::new() };
        assert!(nowhere.files().is_err());
    }
}
