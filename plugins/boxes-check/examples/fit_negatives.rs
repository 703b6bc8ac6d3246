//! Fits the weights of `negative.rs` on the training pictures of `plantdoc-sample`, and prints them.
//!
//! `cargo run --release -p boxes-check --example fit_negatives [-- FOLDER]`. Logistic regression without a constant, by
//! gradient descent; the strength of the ridge is picked by five-fold cross-validation on the training pictures. The test
//! pictures are scored once, at the end.

use boxes::Picture;
use boxes_check::negative::{FEATURES, features};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

type Row = [f32; FEATURES];

struct Sample {
    name: String,
    row: Row,
    negative: bool,
}

fn main() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines/data/plantdoc-sample");
    let root = std::env::args().nth(1).map_or(default, PathBuf::from);
    let train = load(&root, "train");
    let mut best = (f64::MAX, 0.0);
    for ridge in [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03] {
        let (mut held, mut loss) = (Vec::new(), 0.0);
        for fold in 0..5 {
            let (out, rest): (Vec<_>, Vec<_>) = (0..train.len()).partition(|index| index % 5 == fold);
            let weights = fit(&rest.iter().map(|index| &train[*index]).collect::<Vec<_>>(), ridge);
            for sample in out.iter().map(|index| &train[*index]) {
                loss += cross_entropy(&weights, sample) / train.len() as f64;
                held.push((score(&weights, &sample.row), sample.negative));
            }
        }
        println!("ridge {ridge}: cross-validated loss {loss:.4}, {}", rates(&held));
        if loss < best.0 {
            best = (loss, ridge);
        }
    }
    let weights = fit(&train.iter().collect::<Vec<_>>(), best.1);
    println!("ridge {}", best.1);
    for split in ["train", "test"] {
        let samples = load(&root, split);
        let scores: Vec<_> = samples.iter().map(|sample| (score(&weights, &sample.row), sample.negative)).collect();
        println!("{split}: {}", rates(&scores));
        for (sample, (score, negative)) in samples.iter().zip(&scores) {
            if (*score >= 0.5) != *negative || (0.2..0.8).contains(score) {
                println!("  {score:.3} {} {}", if *negative { "negative" } else { "photograph" }, sample.name);
            }
        }
    }
    println!("{:.2?}", weights);
}

fn load(root: &Path, split: &str) -> Vec<Sample> {
    let truth = std::fs::read_to_string(root.join("colour_inverted.csv")).expect("the list of negatives");
    let truth: BTreeSet<String> = truth
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("{split},"))?.rsplit_once(','))
        .map(|(name, _)| name.to_owned())
        .collect();
    let mut names: Vec<String> = std::fs::read_dir(root.join(split))
        .expect("a folder of pictures")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let sample = |name: String| {
        let picture =
            Picture::decode(&std::fs::read(root.join(split).join(&name)).expect("a file")).expect("a picture");
        Sample { negative: truth.contains(&name), row: features(&picture), name }
    };
    names.into_iter().map(sample).collect()
}

fn score(weights: &Row, row: &Row) -> f32 {
    let sum: f32 = weights.iter().zip(row).map(|(weight, value)| weight * value).sum();
    1.0 / (1.0 + (-sum).exp())
}

fn cross_entropy(weights: &Row, sample: &Sample) -> f64 {
    let score = f64::from(score(weights, &sample.row)).clamp(1e-6, 1.0 - 1e-6);
    -(if sample.negative { score } else { 1.0 - score }).ln()
}

fn fit(samples: &[&Sample], ridge: f32) -> Row {
    let mut weights = [0.0; FEATURES];
    for _ in 0..20_000 {
        let mut slope = weights.map(|weight| weight * ridge);
        for sample in samples {
            let error = score(&weights, &sample.row) - f32::from(u8::from(sample.negative));
            for (slope, value) in slope.iter_mut().zip(&sample.row) {
                *slope += error * value / samples.len() as f32;
            }
        }
        for (weight, slope) in weights.iter_mut().zip(slope) {
            *weight -= 4.0 * slope;
        }
    }
    weights
}

fn rates(scores: &[(f32, bool)]) -> String {
    let named = scores.iter().filter(|(score, _)| *score >= 0.5).count();
    let right = scores.iter().filter(|(score, negative)| *score >= 0.5 && *negative).count();
    let all = scores.iter().filter(|(_, negative)| *negative).count();
    format!("{right} right of {named} named, {all} negatives")
}
