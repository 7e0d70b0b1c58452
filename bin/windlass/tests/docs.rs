//! Holds the book to the program: runs the commands of the guides, compares what is generated, follows the links, and
//! looks for every metric, alert and variable.
//!
//! `WINDLASS_UPDATE_DOCS=1 cargo test -p windlass --test docs` writes the generated pages anew.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod book;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use book::{markdown_files, program, read, root, source_files};
use windlass_payer::machine::Phase;

/// Compares a generated page with the committed one, or writes it.
fn generated(page: &str, text: &str) {
    let path = root().join(page);
    if std::env::var_os("WINDLASS_UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{page} is not what the program says; write it anew with WINDLASS_UPDATE_DOCS=1 cargo test -p windlass --test docs"
    );
}

#[test]
fn the_configuration_reference_is_what_the_program_prints() {
    let folder = tempfile::tempdir().unwrap();
    generated("docs/reference/configuration.md", &program(folder.path(), &["config", "reference"]));
}

/// The help text of every command, by its words.
fn help_of_all() -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let (mut found, mut waiting) = (BTreeMap::new(), vec![Vec::<String>::new()]);
    while let Some(words) = waiting.pop() {
        let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = program(folder.path(), &arguments);
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        for line in listed.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let word = line.split_whitespace().next().unwrap();
            if word != "help" {
                waiting.push(words.iter().cloned().chain([word.to_owned()]).collect());
            }
        }
        found.insert(words.join(" "), help);
    }
    found
}

#[test]
fn the_command_line_reference_is_what_the_program_prints() {
    let mut page =
        "# Command line\n\nGenerated from the program: what `--help` says for every command. Standard output carries only the \
                    result; everything else goes to standard error. [Exit codes](exit-codes.md).\n"
            .to_owned();
    for (words, help) in help_of_all() {
        let title = if words.is_empty() { "windlass".to_owned() } else { format!("windlass {words}") };
        let help: Vec<_> = help.lines().map(str::trim_end).collect();
        page.push_str(&format!("\n## `{title}`\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
    }
    generated("docs/reference/command-line.md", &page);
}

#[test]
fn every_command_in_the_book_exists() {
    let help = help_of_all();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (page, text) in markdown_files() {
        for block in book::blocks(&text).into_iter().filter(|block| matches!(block.language(), "console" | "sh")) {
            for line in block.lines.iter().filter_map(|line| book::windlass_call(line)) {
                seen += 1;
                let mut words = line.split_whitespace().peekable();
                let mut path = String::new();
                while let Some(next) = words.peek() {
                    let longer = if path.is_empty() { (*next).to_owned() } else { format!("{path} {next}") };
                    if !help.contains_key(&longer) {
                        break;
                    }
                    path = longer;
                    words.next();
                }
                if path.is_empty() && words.peek().is_some_and(|word| !word.starts_with('-')) {
                    wrong.push(format!("{page}: no such command: windlass {line}"));
                }
                for word in words.take_while(|word| *word != "--") {
                    let flag = word.split('=').next().unwrap();
                    if flag.starts_with("--") && !help[&path].contains(flag) {
                        wrong.push(format!("{page}: `windlass {path}` has no {flag}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 20, "only {seen} commands found in the book");
}

#[test]
fn links_between_pages_resolve() {
    let pages: BTreeMap<_, _> = markdown_files().into_iter().collect();
    let mut wrong = Vec::new();
    let mut followed = 0;
    for (page, text) in &pages {
        for link in book::links(text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            followed += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { root().join(page) } else { root().join(page).parent().unwrap().join(file) };
            let Ok(target) = target.canonicalize() else {
                wrong.push(format!("{page}: {link} leads nowhere"));
                continue;
            };
            let Ok(inside) = target.strip_prefix(root().canonicalize().unwrap()) else {
                wrong.push(format!("{page}: {link} leads out of the repository"));
                continue;
            };
            if !anchor.is_empty() {
                let known = pages.get(inside.to_str().unwrap()).map(|text| book::anchors(text)).unwrap_or_default();
                if !known.contains(anchor) {
                    wrong.push(format!("{page}: {link}: there is no heading #{anchor}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(followed > 50, "only {followed} links found");
}

/// The names in the first column of a page's tables.
fn first_column(page: &str) -> BTreeSet<String> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells.map(str::to_owned).collect()
}

#[test]
fn every_metric_is_explained_and_every_explained_metric_exists() {
    let mut in_code = BTreeSet::new();
    let files = ["/metrics.rs", "/meter.rs"];
    for (_, text) in source_files().into_iter().filter(|(path, _)| files.iter().any(|file| path.ends_with(file))) {
        in_code.extend(book::string_literals(&text).filter(|name| {
            let prefixes = ["payer_", "vrf_", "outbox_", "chain_", "node_", "store_", "process_"];
            prefixes.iter().any(|prefix| name.starts_with(prefix)) && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        }));
    }
    // Prefixes that code compares with are no names.
    in_code.retain(|name| !name.ends_with('_'));
    let explained = first_column(&read("docs/reference/metrics.md"));
    let missing: Vec<_> = in_code.difference(&explained).collect();
    let invented: Vec<_> = explained.difference(&in_code).collect();
    assert!(missing.is_empty() && invented.is_empty(), "not explained: {missing:?}\nnot in the code: {invented:?}");
    assert!(in_code.len() > 40, "{in_code:?}");
}

#[test]
fn every_alert_has_a_section_in_the_runbook() {
    let runbook = read("docs/operations/runbook.md");
    let anchors = book::anchors(&runbook);
    let listed = first_column(&read("docs/reference/alerts.md"));
    let mut keys: BTreeSet<String> = Phase::ALL
        .iter()
        .filter(|phase| !matches!(phase, Phase::NotStarted | Phase::Paid))
        .map(|phase| phase.as_str().to_owned())
        .collect();
    let mut pages = 0;
    for (path, text) in source_files() {
        for rest in text.split("operations/runbook.html#").skip(1) {
            let anchor = rest.split(['"', '`']).next().unwrap();
            // The example in the documentation of the type.
            if path.ends_with("alerts/mod.rs") || path.contains("/tests") {
                continue;
            }
            pages += 1;
            assert!(anchors.contains(anchor), "{path}: the runbook has no heading #{anchor}");
        }
        if path.contains("/tests") {
            continue;
        }
        for call in ["self.alert(\"", "self.funds(\""] {
            keys.extend(text.split(call).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
        // The key is the second argument, if it is a literal there.
        let seconds = text.split("Alert::new(").skip(1).filter_map(|rest| rest.split_once(',')?.1.trim_start().strip_prefix('"'));
        keys.extend(seconds.map(|rest| rest.split('"').next().unwrap().to_owned()));
        if path.ends_with("/tell.rs") {
            // Raised in a loop: the keys stand in lists.
            for line in text.lines().map(str::trim_start) {
                let mut literals = book::string_literals(line);
                if line.starts_with("(\"") && line.contains(", Severity::") {
                    keys.extend(literals.next());
                } else if line.starts_with("for key in [") {
                    keys.extend(literals);
                }
            }
        }
    }
    keys.insert("expiring_<seconds>".to_owned());
    assert!(pages >= 2, "no runbook links found in the code");
    assert_eq!(keys, listed, "left: alerts of the code; right: docs/reference/alerts.md");
    for key in &listed {
        let key = key.split('<').next().unwrap().trim_end_matches('_');
        assert!(runbook.contains(&format!("`{key}")), "the runbook does not name `{key}`");
    }
}

#[test]
fn every_variable_of_the_commands_is_explained() {
    let page = read("docs/reference/environment.md");
    let mut names: BTreeSet<String> = windlass_payer::cli::monitor::VARIABLES
        .iter()
        .chain(windlass_payer::cli::deploy::VARIABLES.iter())
        .map(|name| (*name).to_owned())
        .collect();
    names.insert(windlass_payer::cli::env::PRECEDENCE_VARIABLE.to_owned());
    for help in help_of_all().values() {
        names.extend(help.split("[env: ").skip(1).map(|rest| rest.split(['=', ']']).next().unwrap().to_owned()));
    }
    for name in &names {
        assert!(page.contains(&format!("`{name}`")), "docs/reference/environment.md does not explain {name}");
    }
    assert!(names.len() >= 10, "{names:?}");
}

#[test]
fn the_compose_example_is_accepted() {
    let compose = read("deploy/compose/compose.yaml");
    let mut command = book::command(&root().join("deploy/compose"));
    for line in compose.lines().map(str::trim).filter(|line| line.starts_with("WINDLASS_")) {
        let name = line.split(':').next().unwrap();
        let value = match line {
            line if line.contains("RPC_URL") => "http://127.0.0.1:8545",
            line if line.contains("CONTRACT_ADDRESS") => "0x5FbDB2315678afecb367f032d93F642f64180aa3",
            other => panic!("the test has no value for {other}"),
        };
        command.env(name, value);
    }
    let output = command.args(["config", "check"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "configuration: ok, services: payer.keyper\n");
    let example: Vec<_> =
        read("deploy/compose/.env.example").lines().filter_map(|l| Some(l.split_once('=')?.0.to_owned())).collect();
    for name in compose.split("${").skip(1).map(|rest| rest.split([':', '}']).next().unwrap()) {
        assert!(example.iter().any(|known| known == name), "deploy/compose/.env.example does not have {name}");
    }
}

#[test]
fn the_systemd_unit_sets_known_variables() {
    let unit = read("deploy/systemd/windlass.service");
    let folder = tempfile::tempdir().unwrap();
    let mut command = book::command(folder.path());
    let set: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('=')).collect();
    assert!(!set.is_empty());
    let output = command.envs(set).args(["config", "check"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_commands_of_the_guides_print_what_the_guides_say() {
    let mut guides = 0;
    for (page, text) in markdown_files() {
        if book::blocks(&text).iter().any(book::Block::is_run) {
            guides += 1;
            book::Session::new(&page).play(&text);
        }
    }
    assert!(guides >= 3, "only {guides} pages have commands to run");
}

#[test]
fn the_book_names_every_page() {
    let contents = read("docs/README.md");
    for (page, _) in markdown_files() {
        let Some(inside) = page.strip_prefix("docs/") else { continue };
        assert!(inside == "README.md" || contents.contains(&format!("]({inside})")), "docs/README.md does not name {inside}");
    }
    assert!(Path::new(&root()).join("deploy/README.md").exists());
}
