//! A pipeline with a bad plugin and a neighbour that has nothing to do with it.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value as Json;

use crate::support::Bed;

/// The bytes of `hostile.rs`, built.
pub(crate) const HOSTILE: &[u8] = include_bytes!("hostile.wasm");

const STEP: &str = include_str!("../../runner/engine/src/wasm/testdata/step.wat");

/// A plugin made of the parts of `text`, put into the places that `step.wat` has for them.
pub(crate) fn wat(text: &str) -> Vec<u8> {
    let mut whole = STEP.replace("VERSION", "1.0.0");
    for place in ["IMPORTS", "LOWERED", "WANTED", "GIVEN"] {
        whole = whole.replace(&format!(";; {place}\n"), &part(text, &format!(";; {place}\n")));
    }
    let whole = whole.replace("      BODY", &part(text, ";; BODY\n"));
    wat::parse_str(whole).expect("the WAT is sound")
}

fn part(text: &str, heading: &str) -> String {
    let lines = text.split_once(heading).map_or("", |(_, rest)| rest).lines();
    lines.take_while(|line| !line.starts_with(";; ")).map(|line| format!("{line}\n")).collect()
}

/// The step `bad` with its plugin, and the step `neighbour`.
pub(crate) struct Guest {
    pub(crate) bed: Bed,
}

/// What came of the step `bad`.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) events: Vec<Json>,
}

impl Guest {
    /// Runs `component` with these keys of its step, each a line.
    pub(crate) fn new(component: &[u8], keys: &[&str]) -> Self {
        let keys: String = keys.iter().map(|key| format!("    {key}\n")).collect();
        let bed = Bed::new(&format!(
            "flowrun: 1\nsources:\n  data: {{ path: data }}\n  other: {{ path: other }}\nsteps:\n  bad:\n    uses: ./bad.wasm\n    \
             inputs: {{ dataset: sources.data }}\n{keys}  neighbour:\n    inputs: {{ other: sources.other }}\n    \
             run: cat {{{{ inputs.other }}}}/secret.txt > {{{{ outputs.copy }}}}\n    outputs: {{ copy: copy.txt }}\n"
        ));
        std::fs::write(bed.path("bad.wasm"), component).expect("written");
        bed.write("data/a.txt", "a");
        bed.write("other/secret.txt", "a neighbour's secret");
        Self { bed }
    }

    /// `hostile.rs` doing this.
    pub(crate) fn doing(what: &str, keys: &[&str]) -> Self {
        let with = format!("with: {{ do: {what} }}");
        Self::new(HOSTILE, &[&[with.as_str()], keys].concat())
    }

    /// The plugin says of itself that it wants this.
    pub(crate) fn asking(self, capabilities: &str) -> Self {
        self.bed.write(
            "bad.plugin.yaml",
            &format!(
                "flowrun_plugin: 1\nname: test/bad\nversion: 1.0.0\nsummary: Does what it must not\n\
                 with: {{ additionalProperties: true }}\ninputs: {{ dataset: {{ type: dir }} }}\n\
                 values: {{ now: {{}}, slept: {{}}, random: {{}}, tcp: {{}}, dns: {{}}, length: {{}} }}\n\
                 capabilities: {{ {capabilities} }}\n"
            ),
        );
        self
    }

    /// Runs the pipeline to its end. Whatever `bad` does, the neighbour ends well.
    #[track_caller]
    pub(crate) fn run(&self) -> Ended {
        self.run_with(|_| {})
    }

    /// The same, in an environment that `change` has changed.
    #[track_caller]
    pub(crate) fn run_with(&self, change: impl FnOnce(&mut std::process::Command)) -> Ended {
        let mut command = self.bed.command(&["run", "--keep-going", "--jobs", "2", "--json"]);
        change(&mut command);
        let said = crate::support::said(command.output().expect("flowrun starts"));
        let events: Vec<Json> = said.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let ended = Ended { code: said.code, events };
        let neighbour = ended
            .events
            .iter()
            .any(|event| event["step"] == "neighbour" && (event["event"] == "finished" || event["event"] == "cached"));
        assert!(neighbour, "the neighbour did not end well:\n{}\n{}", said.stdout, said.stderr);
        assert!(ended.event("run-finished").is_some(), "the run did not end:\n{}\n{}", said.stdout, said.stderr);
        ended
    }
}

impl Ended {
    fn event(&self, name: &str) -> Option<&Json> {
        self.events.iter().find(|event| event["event"] == name && (event["step"] == "bad" || name == "run-finished"))
    }

    /// It failed with this, and this was said to do about it.
    #[track_caller]
    pub(crate) fn fails(&self, message: &str, hint: &str) -> &Self {
        let failure = self.event("failed").map(|event| &event["failure"]).unwrap_or_else(|| panic!("{self:?}"));
        let said = |key: &str, text: &str| failure[key].as_str().unwrap_or_default().contains(text);
        assert!(said("message", message) && said("hint", hint), "{failure}");
        assert_eq!(self.code, if failure["kind"] == "timeout" { 4 } else { 1 });
        self
    }

    /// It ended well with these values.
    #[track_caller]
    pub(crate) fn values(&self) -> &Json {
        &self.event("finished").unwrap_or_else(|| panic!("{self:?}"))["values"]
    }

    /// What it said.
    pub(crate) fn lines(&self) -> Vec<&str> {
        let lines = self.events.iter().filter(|event| event["event"] == "line" && event["step"] == "bad");
        lines.map(|event| event["text"].as_str().expect("a text")).collect()
    }
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.events.iter().try_for_each(|event| writeln!(to, "{event}"))
    }
}

/// Whether anybody has knocked.
pub(crate) fn knocked(listener: &TcpListener) -> bool {
    listener.set_nonblocking(true).expect("set");
    listener.accept().is_ok()
}

/// The files under a folder and their bytes in all.
pub(crate) fn weigh(folder: &Path) -> (usize, u64) {
    let mut sum = (0, 0);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(data) = entry.metadata() else { continue };
        let (files, bytes) = if data.is_dir() { weigh(&entry.path()) } else { (1, data.len()) };
        sum = (sum.0 + files, sum.1 + bytes);
    }
    sum
}
