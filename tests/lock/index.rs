//! A large set of packages of the real index, for three platforms.

use crate::support::Bed;
use crate::support::said;

const SET: &str = "flowrun: 1
platforms: [linux-x86_64, linux-aarch64, macos-aarch64]
steps:
  train:
    run: python -c 'import keras_cv, pycocotools.coco, tensorflow, wandb; print(tensorflow.__version__)' > {{ outputs.said }}
    outputs: { said: said.txt }
    python:
      version: \"3.11\"
      requirements:
        - tensorflow==2.15
        - keras-cv==0.9.0
        - pycocotools==2.0.7
        - wandb==0.17.3
";

#[test]
fn a_set_with_a_package_that_has_no_wheel_locks_for_every_platform_when_that_is_built() {
    let bed = Bed::new(SET);
    let flowrun = |args: &[&str]| said(bed.command(args).output().expect("flowrun starts"));
    let refused = flowrun(&["lock"])
        .fails(2)
        .says("error: `promise` has no wheel for any Python since 3.8")
        .says("--> p.yaml:11:11");
    refused
        .says("promise is needed by tensorflow-datasets, needed by `keras-cv==0.9.0`")
        .says("`no_binary: [promise]`");
    assert_eq!(bed.read("p.lock"), "", "nothing is written, and nothing was built");
    bed.write("p.yaml", &format!("{SET}      no_binary: [promise]\n"));
    flowrun(&["lock"]).ok().says("train: Python 3.11 with 9").says("for linux-aarch64, linux-x86_64, macos-aarch64");
    let lock = bed.read("p.lock");
    let files = |word: &str| lock.lines().filter(|line| line.contains("{ file =") && line.contains(word)).count();
    assert!(files("_x86_64.whl") > 20 && files("_aarch64.whl") > 20 && files("_arm64.whl") > 10, "{lock}");
    let source: Vec<&str> = lock.lines().filter(|line| line.contains(".tar.gz")).collect();
    assert!(source.len() == 1 && source[0].contains("promise-2.3.tar.gz"), "{source:?}");
    // Its wheel is built once, is for every platform, and says what it was built with.
    let built = lock.lines().find(|line| line.contains("promise-2.3-py3-none-any.whl")).expect("built");
    assert!(!built.contains("platforms") && lock.contains("tools = [\n  { name = \"setuptools\""), "{built}");
    assert!(!lock.contains("://"), "no address is in it");
    // It is a package of macOS alone.
    let mac = lock.lines().find(|line| line.contains("tensorflow_macos-2.15")).expect("there");
    assert!(mac.ends_with("platforms = [\"macos-aarch64\"] },"), "{mac}");
    flowrun(&["lock"]).ok().says("up to date");
    assert_eq!(bed.read("p.lock"), lock);
    // And what is locked for this machine is a set that works together.
    flowrun(&["run", "--locked"]).ok().says("done  train");
    let said = flowrun(&["get", "@latest", "train.said", "--output", "said.txt"]).ok();
    assert!(bed.read("said.txt").trim().ends_with("2.15.0"), "{}", said.stderr);
}
