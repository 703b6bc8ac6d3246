//! The same graph of steps, written for each tool. A step concatenates its inputs into one file.

use std::fmt::Write;
use std::path::Path;

/// What a step reads.
#[derive(Clone, Copy)]
pub(crate) enum Input {
    /// A file that is there before.
    Source(usize),
    /// What an earlier step made.
    Step(usize),
}

/// Steps in an order in which they can run.
pub(crate) struct Dag {
    sources: usize,
    steps: Vec<Vec<Input>>,
}

impl Dag {
    /// One step, then `wide` that read what it made and a file each, then one that reads what all of them made.
    pub(crate) fn wide(wide: usize) -> Self {
        let mut steps = vec![vec![Input::Source(0)]];
        steps.extend((1..=wide).map(|at| vec![Input::Step(0), Input::Source(at)]));
        steps.push((1..=wide).map(Input::Step).collect());
        Self { sources: wide + 1, steps }
    }

    /// Steps with a file each.
    pub(crate) fn flat(count: usize) -> Self {
        Self { sources: count, steps: (0..count).map(|at| vec![Input::Source(at)]).collect() }
    }

    /// Steps that read what the one before made.
    pub(crate) fn chain(count: usize) -> Self {
        let first = std::iter::once(vec![Input::Source(0)]);
        Self { sources: 1, steps: first.chain((1..count).map(|at| vec![Input::Step(at - 1)])).collect() }
    }

    /// Puts a project into a folder: the files and the graph in everybody's words.
    pub(crate) fn write(&self, folder: &Path) {
        for inside in ["data", "out", ".flowrun"] {
            std::fs::create_dir_all(folder.join(inside)).expect("a folder");
        }
        for at in 0..self.sources {
            edit(folder, at, 0);
        }
        for (name, text) in [
            ("p.yaml", self.flowrun()),
            ("build.ninja", self.ninja()),
            ("Makefile", self.make()),
            ("dodo.py", self.doit()),
        ] {
            std::fs::write(folder.join(name), text).expect("written");
        }
    }

    fn flowrun(&self) -> String {
        let mut text = "flowrun: 1\nname: suite\nsources:\n".to_owned();
        for at in 0..self.sources {
            let _ = writeln!(text, "  f{at}: {{ path: data/f{at}.txt }}");
        }
        text.push_str("steps:\n");
        for (at, inputs) in self.steps.iter().enumerate() {
            let named = |input: &Input| match input {
                Input::Source(at) => (format!("f{at}"), format!("sources.f{at}")),
                Input::Step(at) => (format!("s{at}"), format!("s{at}.made")),
            };
            let words: String = inputs.iter().map(|input| format!(" {{{{ inputs.{} }}}}", named(input).0)).collect();
            let _ = writeln!(text, "  s{at}:\n    run: cat{words} > {{{{ outputs.made }}}}\n    inputs:");
            for (name, reference) in inputs.iter().map(named) {
                let _ = writeln!(text, "      {name}: {reference}");
            }
            let _ = writeln!(text, "    outputs: {{ made: s{at}.txt }}");
        }
        text
    }

    /// Each step's output and what it reads, as paths.
    fn paths(&self) -> impl Iterator<Item = (String, String)> {
        self.steps.iter().enumerate().map(|(at, inputs)| {
            let words: Vec<String> = inputs.iter().map(path).collect();
            (path(&Input::Step(at)), words.join(" "))
        })
    }

    fn ninja(&self) -> String {
        let rule = "rule cat\n  command = cat $in > $out\n".to_owned();
        self.paths().fold(rule, |text, (made, read)| text + &format!("build {made}: cat {read}\n"))
    }

    fn make(&self) -> String {
        let all: Vec<String> = self.paths().map(|(made, _)| made).collect();
        let head = format!("all: {}\n.PHONY: all\n", all.join(" "));
        self.paths().fold(head, |text, (made, read)| text + &format!("{made}: {read}\n\tcat $^ > $@\n"))
    }

    fn doit(&self) -> String {
        let mut text = "STEPS = [\n".to_owned();
        for (made, read) in self.paths() {
            let _ = writeln!(text, "    ('{made}', '{read}'),");
        }
        text.push_str(
            "]\n\n\ndef task_cat():\n    for made, read in STEPS:\n        yield {'name': made, 'actions': ['cat %s > %s' % (read, made)], \
             'file_dep': read.split(), 'targets': [made]}\n",
        );
        text
    }
}

fn path(input: &Input) -> String {
    match input {
        Input::Source(at) => format!("data/f{at}.txt"),
        Input::Step(at) => format!("out/s{at}.txt"),
    }
}

/// Gives a file another content.
pub(crate) fn edit(folder: &Path, source: usize, edition: usize) {
    let text = format!("file {source}, edition {edition}\n");
    std::fs::write(folder.join(path(&Input::Source(source))), text).expect("written");
}

/// Gives a file the present time, and the content that it has.
pub(crate) fn touch(folder: &Path, source: usize) {
    let file = std::fs::File::options().append(true).open(folder.join(path(&Input::Source(source))));
    file.and_then(|file| file.set_modified(std::time::SystemTime::now())).expect("touched");
}
