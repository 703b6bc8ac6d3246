//! What a person does to a pipeline and its workspace between runs.

use crate::function::{Function, PARAMS};
use crate::pipeline::{Pipeline, words};
use crate::support::random::Random;

/// An edit, told, and whether it is one of the store rather than of the pipeline.
pub(crate) enum Edit {
    /// The pipeline or a source is another; this says how.
    Changed(String),
    /// The bytes that this step made are to vanish from the store.
    Lose(usize),
    /// All files get a new time, and nothing else.
    Touch,
}

/// Makes an edit. `earlier` are states that the pipeline had.
pub(crate) fn edit(pipeline: &mut Pipeline, earlier: &[Pipeline], random: &mut Random) -> Edit {
    let number = random.below(pipeline.steps.len());
    let told = match random.below(14) {
        0 => Edit::Touch,
        1 => Edit::Lose(number),
        2 | 3 => {
            let file = random.below(pipeline.files.len());
            pipeline.files[file] = words(random);
            Edit::Changed(format!("file {file} is another"))
        }
        4 => folder(pipeline, random),
        5 => {
            let (param, value) = (random.below(PARAMS), random.below(4) as i64);
            pipeline.params[param] = value;
            Edit::Changed(format!("param {param} is {value}"))
        }
        6 | 7 => {
            pipeline.steps[number].function = Function::any(random);
            Edit::Changed(format!("step {number} does {:?}", pipeline.steps[number].function))
        }
        8 => {
            pipeline.steps[number].inputs.reverse();
            Edit::Changed(format!("inputs of step {number} are swapped"))
        }
        9 => {
            let input = random.below(pipeline.steps[number].inputs.len());
            pipeline.steps[number].inputs[input] = pipeline.any_ref(number, random);
            Edit::Changed(format!("input {input} of step {number} is {:?}", pipeline.steps[number].inputs[input]))
        }
        10 => {
            pipeline.steps[number].id = format!("renamed{}", random.below(1_000_000));
            random.shuffle(&mut pipeline.order);
            Edit::Changed(format!("step {number} is called {}", pipeline.steps[number].id))
        }
        11 => matrix(pipeline, number, random),
        12 => {
            let file = if pipeline.steps[number].file == "o.txt" { "p.txt" } else { "o.txt" };
            pipeline.steps[number].file = file;
            Edit::Changed(format!("step {number} makes {file}"))
        }
        _ if earlier.is_empty() => Edit::Touch,
        _ => {
            *pipeline = random.pick(earlier).clone();
            Edit::Changed("all is as it was before".to_owned())
        }
    };
    // What a step reads with `*.txt` must be there.
    assert!(!pipeline.folder.is_empty());
    told
}

fn folder(pipeline: &mut Pipeline, random: &mut Random) -> Edit {
    let names: Vec<String> = pipeline.folder.keys().cloned().collect();
    let name = random.pick(&names).clone();
    Edit::Changed(match random.below(3) {
        0 if names.len() > 1 => {
            pipeline.folder.remove(&name);
            format!("folder: {name} is gone")
        }
        1 => {
            let name = format!("{}.txt", random.below(6));
            pipeline.folder.insert(name.clone(), words(random));
            format!("folder: {name} is new or another")
        }
        _ => {
            let text = pipeline.folder.remove(&name).unwrap_or_default();
            let to = format!("{}.txt", random.below(6));
            pipeline.folder.insert(to.clone(), text);
            format!("folder: {name} is called {to}")
        }
    })
}

fn matrix(pipeline: &mut Pipeline, number: usize, random: &mut Random) -> Edit {
    let step = &mut pipeline.steps[number];
    match &mut step.matrix {
        Some(values) if values.len() > 1 && random.one_in(2) => drop(values.pop()),
        Some(values) => values.push(values.iter().max().map_or(1, |most| most + 1)),
        None => step.matrix = Some(vec![1, 2]),
    }
    // Who reads it now reads a folder of files, which is still lines to read.
    Edit::Changed(format!("step {number} fans out over {:?}", step.matrix))
}
