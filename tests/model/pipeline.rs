//! Random pipelines of small text functions, as YAML and as what they compute.

use std::collections::BTreeMap;

use crate::function::{Function, MOST_LINES, PARAMS, cksum};
use crate::support::random::Random;

/// What an input refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ref {
    /// A file.
    File(usize),
    /// The folder.
    Folder,
    /// A step, by its number, which never changes.
    Step(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) id: String,
    pub(crate) function: Function,
    pub(crate) inputs: Vec<Ref>,
    /// What it fans out over.
    pub(crate) matrix: Option<Vec<i64>>,
    /// The name of its output's file.
    pub(crate) file: &'static str,
}

/// A pipeline and the workspace around it. A step reads steps of smaller numbers.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) files: Vec<String>,
    pub(crate) folder: BTreeMap<String, String>,
    pub(crate) params: Vec<i64>,
    pub(crate) steps: Vec<Step>,
    /// The order in which steps are written, which means nothing.
    pub(crate) order: Vec<usize>,
}

/// What an input holds, with every name that is in a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Held {
    File(String, String),
    /// Paths inside a folder to contents, in the order in which a shell lists them.
    Folder(BTreeMap<String, String>),
}

impl Held {
    fn contents(&self) -> Vec<&String> {
        match self {
            Self::File(_, text) => vec![text],
            Self::Folder(entries) => entries.values().collect(),
        }
    }
}

/// Everything that a result depends on, and nothing else: the step's name is not in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    function: Function,
    of: Option<i64>,
    inputs: Vec<Held>,
    file: &'static str,
}

/// An instance of a step: what it depends on, and what it makes.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) key: Key,
    pub(crate) label: Option<String>,
    pub(crate) makes: String,
}

impl Key {
    /// The line by which the step says that it ran.
    pub(crate) fn mark(&self) -> String {
        let sums = self
            .inputs
            .iter()
            .flat_map(Held::contents)
            .map(|text| format!(" {} {}", cksum(text.as_bytes()), text.len()));
        format!("{}{}", self.tag(), sums.collect::<String>())
    }

    fn tag(&self) -> String {
        let of = self.of.map_or_else(|| "none".to_owned(), |of| of.to_string());
        format!("{}-{of}-{}", self.function.name(), self.file)
    }
}

impl Pipeline {
    pub(crate) fn any(random: &mut Random) -> Self {
        let mut pipeline = Self {
            files: (0..1 + random.below(3)).map(|_| words(random)).collect(),
            folder: (0..1 + random.below(3)).map(|number| (format!("{number}.txt"), words(random))).collect(),
            params: (0..PARAMS).map(|_| random.below(3) as i64).collect(),
            steps: Vec::new(),
            order: Vec::new(),
        };
        for number in 0..3 + random.below(8) {
            let inputs = (0..1 + random.below(3)).map(|_| pipeline.any_ref(number, random)).collect();
            let matrix = random.one_in(4).then(|| (1..=2 + random.below(2) as i64).collect());
            let function = Function::any(random);
            pipeline.steps.push(Step { id: format!("s{number}"), function, inputs, matrix, file: "o.txt" });
        }
        pipeline.order = (0..pipeline.steps.len()).collect();
        random.shuffle(&mut pipeline.order);
        pipeline
    }

    /// Something that the step of this number may read. Mostly the step before it: long chains tell most.
    pub(crate) fn any_ref(&self, number: usize, random: &mut Random) -> Ref {
        match random.below(6) {
            0 => Ref::File(random.below(self.files.len())),
            1 => Ref::Folder,
            2 | 3 if number > 0 => Ref::Step(number - 1),
            4 | 5 if number > 0 => Ref::Step(random.below(number)),
            _ => Ref::File(random.below(self.files.len())),
        }
    }

    /// What every instance of every step depends on and makes, by the step's number.
    pub(crate) fn work(&self) -> Vec<Vec<Work>> {
        let mut all: Vec<Vec<Work>> = Vec::new();
        for step in &self.steps {
            let inputs: Vec<Held> = step.inputs.iter().map(|input| self.held(*input, &all)).collect();
            let text: String = inputs
                .iter()
                .flat_map(Held::contents)
                .flat_map(|text| text.lines())
                .take(MOST_LINES)
                .map(|line| format!("{line}\n"))
                .collect();
            let one = |instance: Option<i64>| {
                let of = step.function.of(&self.params, instance);
                let key = Key { function: step.function, of, inputs: inputs.clone(), file: step.file };
                Work { makes: step.function.apply(&text, of), key, label: instance.map(|value| format!("k={value}")) }
            };
            all.push(match &step.matrix {
                Some(values) => values.iter().map(|value| one(Some(*value))).collect(),
                None => vec![one(None)],
            });
        }
        all
    }

    fn held(&self, input: Ref, made: &[Vec<Work>]) -> Held {
        match input {
            Ref::File(number) => Held::File(file_name(number), self.files[number].clone()),
            Ref::Folder => Held::Folder(self.folder.clone()),
            Ref::Step(number) if self.steps[number].matrix.is_some() => Held::Folder(self.joined(number, made)),
            Ref::Step(number) => Held::File(self.steps[number].file.to_owned(), made[number][0].makes.clone()),
        }
    }

    /// The outputs of a fan-out as one folder.
    pub(crate) fn joined(&self, number: usize, made: &[Vec<Work>]) -> BTreeMap<String, String> {
        let file = self.steps[number].file;
        let label = |work: &Work| work.label.clone().unwrap_or_default();
        made[number].iter().map(|work| (format!("{}/{file}", label(work)), work.makes.clone())).collect()
    }

    /// The pipeline as a file; `MARK` is for the bed to replace.
    pub(crate) fn yaml(&self) -> String {
        let mut text = "flowrun: 1\nparams:\n".to_owned();
        for (number, value) in self.params.iter().enumerate() {
            text.push_str(&format!("  p{number}: {{ type: integer, default: {value} }}\n"));
        }
        text.push_str("sources:\n  folder: { path: folder }\n");
        for number in 0..self.files.len() {
            text.push_str(&format!("  f{number}: {{ path: {} }}\n", file_name(number)));
        }
        text.push_str("steps:\n");
        self.order.iter().for_each(|number| text.push_str(&self.step_yaml(&self.steps[*number])));
        text.push_str("results:\n");
        for number in 0..self.steps.len() {
            text.push_str(&format!("  u{number}: {}\n", self.reference(Ref::Step(number))));
        }
        text
    }

    fn step_yaml(&self, step: &Step) -> String {
        let mut files = String::new();
        let mut inputs = Vec::new();
        for (number, input) in step.inputs.iter().enumerate() {
            let inside = match input {
                Ref::Folder => "/*.txt".to_owned(),
                Ref::Step(other) if self.steps[*other].matrix.is_some() => format!("/*/{}", self.steps[*other].file),
                _ => String::new(),
            };
            files.push_str(&format!(" {{{{ inputs.i{number} }}}}{inside}"));
            inputs.push(format!("i{number}: {}", self.reference(*input)));
        }
        let of = match (step.function, &step.matrix) {
            (Function::Append(_), Some(_)) => "{{ matrix.k }}".to_owned(),
            (Function::Append(param) | Function::Drop(param), _) => format!("{{{{ params.p{param} }}}}"),
            _ => "none".to_owned(),
        };
        let mut text = format!("  {}:\n", step.id);
        if let Some(values) = &step.matrix {
            text.push_str(&format!("    matrix: {{ k: {values:?} }}\n"));
        }
        text.push_str(&format!(
            "    run: |\n      sums=$(for f in{files}; do cksum < $f; done)\n      MARK {}-{of}-{} $sums\n",
            step.function.name(),
            step.file,
        ));
        text.push_str(&format!(
            "      cat{files} | head -n {MOST_LINES} | ({}) > {{{{ outputs.o }}}}\n",
            step.function.script(step.matrix.is_some()),
        ));
        text.push_str(&format!("    inputs: {{ {} }}\n    outputs: {{ o: {} }}\n", inputs.join(", "), step.file));
        text
    }

    fn reference(&self, to: Ref) -> String {
        match to {
            Ref::File(number) => format!("sources.f{number}"),
            Ref::Folder => "sources.folder".to_owned(),
            Ref::Step(number) if self.steps[number].matrix.is_some() => format!("{}.*.o", self.steps[number].id),
            Ref::Step(number) => format!("{}.o", self.steps[number].id),
        }
    }
}

pub(crate) fn file_name(number: usize) -> String {
    format!("file-{number}.txt")
}

/// Some lines.
pub(crate) fn words(random: &mut Random) -> String {
    const WORDS: [&str; 8] = ["ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "oak"];
    (0..random.below(6)).map(|_| format!("{}\n", random.pick(&WORDS))).collect()
}
