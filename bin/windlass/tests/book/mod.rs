//! Reading the book, and playing its commands.
//!
//! | Info string | What the test does with the block |
//! | --- | --- |
//! | `console,run` | runs each `$ command` in a folder of its own per page; what follows must be its output |
//! | `console,eventually` | the same, again and again until the output is right |
//! | `console,background` | starts the command, waits until the output is there, and ends the command with the page |
//! | `<any>,file=NAME` | writes the block to the file |
//!
//! In expected output `…` stands for any text within a line, and alone on a line for any lines. The ports 8545 and 9464 of
//! the book are exchanged for free ones, also where they are a default (`windlass devnet`, `windlass run`). `curl` is played by the test, so that nothing but the program is needed.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command of the book may take to show what it should. Test machines are shared.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') && name != "node_modules" && name != "target" {
            walk(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

fn files(extension: &str) -> Vec<(String, String)> {
    let root = root().canonicalize().unwrap();
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let named = found.into_iter().filter(|path| path.extension().is_some_and(|known| known == extension));
    named
        .map(|path| (path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// Every page of the repository, by its path from the root.
pub(crate) fn markdown_files() -> Vec<(String, String)> {
    files("md")
}

/// The sources of kit, services and program, without tests.
pub(crate) fn source_files() -> Vec<(String, String)> {
    let sources = files("rs").into_iter();
    sources
        .filter(|(path, _)| ["kit/", "services/", "bin/"].iter().any(|part| path.starts_with(part)) && path.contains("/src/"))
        .collect()
}

/// The program in a folder, without the variables of the test.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
    command.current_dir(folder).stdin(Stdio::null()).env_clear();
    command
}

/// What the program prints; it must succeed.
pub(crate) fn program(folder: &Path, arguments: &[&str]) -> String {
    let output = command(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "windlass {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A fenced block.
pub(crate) struct Block {
    info: String,
    pub(crate) lines: Vec<String>,
    line: usize,
}

impl Block {
    pub(crate) fn language(&self) -> &str {
        self.info.split(',').next().unwrap()
    }

    fn has(&self, word: &str) -> bool {
        self.info.split(',').any(|part| part == word)
    }

    fn file(&self) -> Option<&str> {
        self.info.split(',').find_map(|part| part.strip_prefix("file="))
    }

    pub(crate) fn is_run(&self) -> bool {
        ["run", "eventually", "background"].iter().any(|word| self.has(word))
    }

    /// Commands, each with the output that is expected.
    fn commands(&self) -> Vec<(String, Vec<String>)> {
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for line in &self.lines {
            match (line.strip_prefix("$ "), found.last_mut()) {
                (Some(command), _) => found.push((command.to_owned(), Vec::new())),
                (None, Some((command, output))) if output.is_empty() && command.ends_with('\\') => {
                    command.push('\n');
                    command.push_str(line);
                }
                (None, Some((_, output))) => output.push(line.clone()),
                (None, None) => panic!("line {}: a block begins with `$ `", self.line),
            }
        }
        found
    }
}

pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let (mut found, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(info), None) => open = Some(Block { info: info.trim().to_owned(), lines: Vec::new(), line: number + 1 }),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(block)) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    found
}

fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The arguments of a call of the program in a line of a block.
pub(crate) fn windlass_call(line: &str) -> Option<String> {
    let line = line.trim_start().trim_start_matches("$ ");
    let (before, rest) = line.split_once("windlass ")?;
    // Only variables may stand before it.
    let call = before.split_whitespace().all(|word| word.contains('=') || word == "exec");
    let end =
        [" | ", " > ", " 2>", " &&", " &", ";", " # "].iter().filter_map(|stop| rest.find(stop)).min().unwrap_or(rest.len());
    call.then(|| rest[..end].trim_end_matches('\\').to_owned())
}

pub(crate) fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        // Code in a line is no link.
        let line: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        found.extend(line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
    }
    found
}

/// The anchors of a page: its headings as they are written in links.
pub(crate) fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
            kept.replace(' ', "-")
        })
        .collect()
}

/// The string literals of a source, as far as they have no escapes.
pub(crate) fn string_literals(text: &str) -> impl Iterator<Item = String> {
    text.lines().flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
}

/// Whether the lines fit the pattern.
fn fits(pattern: &[String], lines: &[&str]) -> bool {
    match pattern.split_first() {
        None => lines.is_empty(),
        Some((any, rest)) if any.trim() == "…" => (0..=lines.len()).any(|skipped| fits(rest, &lines[skipped..])),
        Some((first, rest)) => lines.split_first().is_some_and(|(line, others)| line_fits(first, line) && fits(rest, others)),
    }
}

fn line_fits(pattern: &str, line: &str) -> bool {
    let parts: Vec<&str> = pattern.trim_end().split('…').collect();
    let Some(mut rest) = line.trim_end().strip_prefix(parts[0]) else { return false };
    for (number, part) in parts.iter().enumerate().skip(1) {
        if number + 1 == parts.len() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

/// The commands of one page, played one after the other in one folder.
pub(crate) struct Session {
    page: String,
    folder: tempfile::TempDir,
    ports: [(&'static str, String); 2],
    background: Vec<Child>,
}

impl Session {
    pub(crate) fn new(page: &str) -> Self {
        // Both are held until both are chosen, so that they differ.
        let free = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
        let [chain, node] = free.map(|listener| format!(":{}", listener.local_addr().unwrap().port()));
        let ports = [(":8545", chain), (":9464", node)];
        Self { page: page.to_owned(), folder: tempfile::tempdir().unwrap(), ports, background: Vec::new() }
    }

    fn with_ports(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    pub(crate) fn play(&mut self, text: &str) {
        for block in blocks(text) {
            if let Some(file) = block.file() {
                let path = self.folder.path().join(file);
                std::fs::write(path, self.with_ports(&(block.lines.join("\n") + "\n"))).unwrap();
            }
            if !block.is_run() {
                continue;
            }
            for (command, expected) in block.commands() {
                let command = self.with_ports(&command);
                let expected: Vec<_> = expected.iter().map(|line| self.with_ports(line)).collect();
                let place = format!("{}, line {}: $ {command}", self.page, block.line);
                if block.has("background") {
                    self.start(&command, &expected, &place);
                } else {
                    self.run(&command, &expected, block.has("eventually"), &place);
                }
            }
        }
    }

    fn shell(&self, command: &str) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_windlass")).parent().unwrap();
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).current_dir(self.folder.path()).stdin(Stdio::null()).env_clear();
        let path = std::env::var("PATH").unwrap_or_default();
        shell.env("WINDLASS_HTTP__LISTEN", format!("127.0.0.1{}", self.ports[1].1));
        shell.env("PATH", format!("{}:{path}", program.display())).env("HOME", self.folder.path());
        shell
    }

    fn run(&self, command: &str, expected: &[String], again: bool, place: &str) {
        let begun = Instant::now();
        loop {
            let shown = match command.strip_prefix("curl ") {
                Some(arguments) => curl(arguments).unwrap_or_else(|error| format!("curl: {error}\n")),
                None => self.output(command),
            };
            if fits(expected, &shown.lines().collect::<Vec<_>>()) {
                return;
            }
            let late = begun.elapsed() > PATIENCE;
            assert!(again && !late, "{place}\n--- the book says\n{}\n--- the program says\n{shown}", expected.join("\n"));
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn output(&self, command: &str) -> String {
        // Processes that a command leaves behind must not be waited for: their output goes to a file, not into a pipe.
        let path = self.folder.path().join(".output");
        let file = std::fs::File::create(&path).unwrap();
        self.shell(command).stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    fn start(&mut self, command: &str, expected: &[String], place: &str) {
        let path = self.folder.path().join(format!(".background-{}", self.background.len()));
        let file = std::fs::File::create(&path).unwrap();
        let listen = format!("windlass devnet --listen 127.0.0.1{}", self.ports[0].1);
        let mut shell = self.shell(&format!("exec {}", command.replace("windlass devnet", &listen)));
        self.background.push(shell.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap());
        let mut pattern = expected.to_vec();
        // It goes on printing.
        pattern.push("…".to_owned());
        let begun = Instant::now();
        loop {
            let shown = std::fs::read_to_string(&path).unwrap();
            if fits(&pattern, &shown.lines().collect::<Vec<_>>()) {
                return;
            }
            let ended = self.background.last_mut().unwrap().try_wait().unwrap();
            let fine = ended.is_none() && begun.elapsed() < PATIENCE;
            assert!(
                fine,
                "{place} (ended: {ended:?})\n--- the book says\n{}\n--- the program says\n{shown}",
                expected.join("\n")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for child in &mut self.background {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Programs that the guides leave running name themselves in a pid file.
        let pid = std::fs::read_to_string(self.folder.path().join("keyper.pid")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// As much of `curl` as the book uses: `--include`, `--data TEXT`, `--header TEXT`, `--silent`, one URL.
fn curl(arguments: &str) -> std::io::Result<String> {
    let (mut words, mut rest) = (Vec::new(), arguments.trim());
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').expect("a quote is not closed"),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start().trim_start_matches("\\\n").trim_start();
    }
    let (mut body, mut url, mut include) = (None, String::new(), false);
    let mut headers = String::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--include" => include = true,
            "--silent" => {}
            "--data" => body = words.next(),
            "--header" => headers.push_str(&format!("{}\r\n", words.next().unwrap())),
            other => url = other.to_owned(),
        }
    }
    let (host, path) = url.strip_prefix("http://").expect("plain HTTP").split_once('/').map_or_else(
        || (url.trim_start_matches("http://").to_owned(), String::new()),
        |(host, path)| (host.to_owned(), path.to_owned()),
    );
    let method = if body.is_some() { "POST" } else { "GET" };
    let body = body.unwrap_or_default();
    let length = body.len();
    let mut stream = TcpStream::connect(&host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok(if include { format!("{}\n\n{body}\n", head.replace("\r\n", "\n")) } else { format!("{body}\n") })
}
