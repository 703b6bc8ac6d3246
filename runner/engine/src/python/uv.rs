//! Runs uv, and understands why it fails.
//!
//! A guard sees to it (see `process`) that uv, and the compilers that it runs, end with flowrun, whatever ends that: else they would write on
//! into what the next flowrun makes anew.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use flowrun_core::outcome::{Failure, FailureKind, Say, Stream};
use tokio::sync::mpsc::{Sender, channel};
use tokio_util::sync::CancellationToken;

use super::settings;
use crate::fetch::{self, Cache, Scratch, infrastructure, redact, refused};
use crate::process::{self, Command, Mask};

/// The macOS that wheels are resolved for, and what is built is built for: the oldest that gets repairs, and what ONNX Runtime asks for.
const MACOS: &str = "14.0";
/// How much of the first of uv's words is kept for the message of a failure, and how much of the last, where the reason is.
const WORDS: usize = 64 << 10;
/// How it says that a source did not become a wheel, which is no matter of the network.
const BUILD: &str = "Failed to download and build";
/// How much of them is shown.
const SHOWN: usize = 1500;

/// uv, with what it needs to know of this machine.
pub(super) struct Uv {
    program: PathBuf,
    env: BTreeMap<String, String>,
    mask: Mask,
    /// Where it runs: an empty folder, so that no project's settings lie above it.
    scratch: Scratch,
}

/// What it said.
pub(super) struct Said {
    pub(super) well: bool,
    pub(super) stdout: String,
    /// Without credentials.
    pub(super) stderr: String,
}

impl Uv {
    /// uv for looking around here: without the settings of an index.
    pub(super) async fn offline(cache: &Cache) -> Result<Self, Failure> {
        Self::new(cache, BTreeMap::new()).await
    }

    /// uv for asking an index.
    pub(super) async fn online(cache: &Cache) -> Result<Self, Failure> {
        let set = |name: &str| std::env::var_os(name).is_some();
        let known = ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"].into_iter().any(set);
        Self::new(cache, if known { BTreeMap::new() } else { pip_files(cache).await? }).await
    }

    async fn new(cache: &Cache, pip_files: BTreeMap<String, String>) -> Result<Self, Failure> {
        let program = fetch::uv(cache).await?;
        let env =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut env = settings::environment(&env.collect(), &pip_files, |path| path.exists());
        let mask = Mask::new(&settings::secrets(&env));
        env.insert("UV_CACHE_DIR".into(), cache.folder("uv")?.to_string_lossy().into_owned());
        env.insert("UV_PYTHON_DOWNLOADS".into(), "never".into());
        env.insert("UV_NO_PROGRESS".into(), "1".into());
        env.insert("NO_COLOR".into(), "1".into());
        env.insert("MACOSX_DEPLOYMENT_TARGET".into(), MACOS.into());
        Ok(Self { program, env, mask, scratch: cache.scratch()? })
    }

    /// The same with another `PATH`.
    pub(super) fn with_path(mut self, path: String) -> Self {
        self.env.insert("PATH".into(), path);
        self
    }

    /// The same for building: with a cache of its own, and with variables that are the same in every build.
    pub(super) fn building(mut self, cache: &Path, always: &[(&str, &str)]) -> Self {
        self.env.extend(always.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.env.insert("UV_CACHE_DIR".into(), cache.to_string_lossy().into_owned());
        self
    }

    /// The options that let it find wheels in a folder too. An option alone would take the place of the user's own setting.
    pub(super) fn find_links(&self, folder: &Path) -> Vec<OsString> {
        let own = self.env.get("UV_FIND_LINKS").map_or("", String::as_str);
        let own = own.split(',').filter(|link| !link.is_empty()).map(OsString::from);
        own.chain([folder.into()]).flat_map(|link| ["--find-links".into(), link]).collect()
    }

    pub(super) fn path(&self) -> &str {
        self.env.get("PATH").map_or("", String::as_str)
    }

    /// Options that this version of uv knows no variable for.
    pub(super) fn index_args(&self) -> Vec<OsString> {
        let is_set = self.env.get(settings::NO_INDEX).is_some_and(|value| settings::is_true(value));
        is_set.then(|| "--no-index".into()).into_iter().collect()
    }

    /// Writes a file for uv to read, and gives its path.
    pub(super) fn file(&self, name: &str, content: &str) -> Result<PathBuf, Failure> {
        let path = self.scratch.path().join(name);
        std::fs::write(&path, content)
            .map_err(|error| infrastructure(format!("cannot write `{}`: {error}", path.display())))?;
        Ok(path)
    }

    /// What uv wrote to such a file.
    pub(super) fn read(&self, name: &str) -> Result<String, Failure> {
        let path = self.scratch.path().join(name);
        std::fs::read_to_string(&path)
            .map_err(|error| infrastructure(format!("cannot read `{}`: {error}", path.display())))
    }

    /// Runs uv; what it tells of its work goes to `say`.
    pub(super) async fn run(&self, args: &[OsString], stdin: &str, say: Option<&Sender<Say>>) -> Result<Said, Failure> {
        let command = Command {
            argv: std::iter::once(self.program.clone().into()).chain(args.iter().cloned()).collect(),
            dir: self.scratch.path().to_owned(),
            env: self.env.clone(),
            stdin: Some(stdin.as_bytes().to_vec()),
            ..Command::default()
        };
        let (told, mut heard) = channel(64);
        let nobody_stops = CancellationToken::new();
        let running = async {
            // It ends with this block, so that the listening ends.
            let told = told;
            process::run(&command, &told, &nobody_stops).await
        };
        let listening = async {
            let (mut stdout, mut stderr, mut last) = (String::new(), String::new(), String::new());
            while let Some(word) = heard.recv().await {
                let Say::Line { stream, text } = word else { continue };
                if stream == Stream::Stdout {
                    stdout.push_str(&text);
                    stdout.push('\n');
                    continue;
                }
                let line = self.clean(&text);
                let kept = if stderr.len() < WORDS { &mut stderr } else { &mut last };
                kept.push_str(&line);
                kept.push('\n');
                if last.len() > 2 * WORDS {
                    last.drain(..last.ceil_char_boundary(WORDS));
                }
                if let Some(say) = say {
                    let _ = say.send(Say::Line { stream, text: line }).await;
                }
            }
            (stdout, stderr + &last)
        };
        let (ended, (stdout, stderr)) = tokio::join!(running, listening);
        match ended {
            // It ended with a code: what that means, whoever asked knows.
            Err(failure) if failure.kind != FailureKind::Step => {
                Err(infrastructure(format!("uv did not come to its end: {}", failure.message)))
            }
            ended => Ok(Said { well: ended.is_ok(), stdout, stderr }),
        }
    }

    fn clean(&self, line: &str) -> String {
        self.mask.text(&redact(line))
    }
}

/// What pip's own files set, by the names of the variables that say the same.
async fn pip_files(cache: &Cache) -> Result<BTreeMap<String, String>, Failure> {
    let scratch = cache.scratch()?;
    let keys = settings::PIP.map(|(key, _)| key);
    let found = fetch::pip_config(&keys, scratch.path()).await;
    let variable =
        |key: &str| settings::PIP.iter().find(|(known, _)| *known == key).map(|(_, variable)| (*variable).to_owned());
    Ok(found.into_iter().filter_map(|(key, value)| Some((variable(&key)?, value))).collect())
}

/// Whether uv failed for want of a network.
pub(super) fn is_network(stderr: &str) -> bool {
    let signs = [
        "Failed to fetch",
        "Failed to download",
        "error sending request",
        "Request failed after",
        "Network connectivity",
        "dns error",
        "was not found in the cache",
        "network was disabled",
    ];
    signs.iter().any(|sign| stderr.contains(sign))
}

/// uv's words as a failure. `what` is what could not be done.
pub(super) fn failure(what: &str, stderr: &str) -> Failure {
    let text = format!("cannot {what}: {}", shortened(stderr));
    // Before the network: such a message may well say what it fetched.
    if stderr.contains("Hash mismatch") || stderr.contains("hash mismatch") {
        return refused(text)
            .hint("a package is not what was locked: find out why, and lock again only if that is meant");
    }
    if is_network(&stderr.replace(BUILD, "")) {
        return infrastructure(text)
            .hint("is the network there? the index is what UV_DEFAULT_INDEX, PIP_INDEX_URL or pip.conf say");
    }
    if stderr.contains("No space left") {
        return infrastructure(text).hint("the disk of the cache is full: FLOWRUN_CACHE names another place");
    }
    if stderr.contains("Failed to build") || stderr.contains(BUILD) {
        return refused(text)
            .hint("a package of `no_binary` did not build here: does it need a compiler, system libraries, or tools that the index lacks?");
    }
    if stderr.contains("has no source distribution") {
        return refused(text).hint("there is nothing to build it from: take it out of `no_binary`");
    }
    if stderr.contains("not found in the provided package locations") {
        return refused(text).hint("no index is asked, since UV_NO_INDEX or PIP_NO_INDEX says so: is it meant?");
    }
    if stderr.contains("No solution found") {
        return refused(text)
            .hint("no set of versions fits all the requirements on this Python and platform: change one of them");
    }
    infrastructure(text)
}

/// What uv complains of, without its warnings and advice, on one line.
fn shortened(stderr: &str) -> String {
    let from = stderr.find("error: ").map_or(stderr, |at| &stderr[at + 7..]);
    let complaint = from.split("\nhint:").next().unwrap_or(from);
    let lines = complaint.lines().map(|line| line.trim().trim_start_matches("cause: ")).filter(|line| !line.is_empty());
    let text = lines.collect::<Vec<_>>().join(": ");
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None if text.is_empty() => "uv does not say why".into(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use flowrun_core::outcome::FailureKind;

    use super::*;

    #[test]
    fn the_words_of_uv_become_failures() {
        let none = "warning: x\nerror: No solution found when resolving dependencies\n  cause: Because a==1 depends on b.\n\nhint: y\n";
        let found = failure("lock it", none);
        assert_eq!(found.kind, FailureKind::Step);
        assert_eq!(
            found.message,
            "cannot lock it: No solution found when resolving dependencies: Because a==1 depends on b."
        );
        let network = "error: Request failed after 3 retries in 4.6s\n  cause: Failed to fetch: `x`\n";
        assert_eq!(failure("lock it", network).kind, FailureKind::Infrastructure);
        assert_eq!(failure("lock it", "").message, "cannot lock it: uv does not say why");
        assert!(failure("lock it", &"é".repeat(9000)).message.len() < 4000);
    }
}
