use super::*;

struct Flat;

impl World for Flat {
    fn exists(&self, path: &str) -> Option<bool> {
        if path.starts_with("../") || path.starts_with('/') { None } else { Some(!path.contains("missing")) }
    }

    fn plugins(&self) -> Vec<String> {
        vec!["flowrun/boxes-check@1".to_owned()]
    }

    fn describe(&self, _: &str) -> Result<Option<std::sync::Arc<crate::plugin::Described>>, String> {
        Ok(None)
    }
}

fn rules(text: &str) -> Vec<(&'static str, String)> {
    match load(text, None, &Flat) {
        Ok(_) => Vec::new(),
        Err(findings) => {
            findings.into_iter().map(|finding| (finding.rule.name(), text[finding.span].to_owned())).collect()
        }
    }
}

const GOOD: &str = r#"
flowrun: 1
params: { n: { type: integer, default: 3 }, seeds: { type: list, default: [1, 2] } }
sources: { data: { path: data } }
defaults: { timeout: 5m, env: { LANG: C }, retry: { attempts: 2 } }
x-shared: &py { version: "3.11", requirements: [six==1.16.0] }
steps:
  check: { uses: flowrun/boxes-check@1, inputs: { dataset: sources.data }, outputs: { dataset: dir, report: f.json }, values: [images] }
  train:
    matrix: { seed: "{{ params.seeds }}" }
    run: python t.py --seed {{ matrix.seed }} --n {{ params.n }} {{ inputs.dataset }} {{ outputs.model }}
    python: *py
    inputs: { dataset: check.dataset }
    outputs: { model: m.onnx }
    values: [acc]
  pick: { run: "ls {{ inputs.models }} {{ train.values | map(attribute='acc') | max }}", inputs: { models: train.*.model }, outputs: { best: dir } }
  gate: { if: check.values.images < 1, fail: "only {{ check.values.images }}" }
profiles:
  quick: { params: { n: 1 }, steps: { train: { timeout: 1m } } }
results: { best: pick.best }
"#;

#[test]
fn a_good_pipeline_loads_with_defaults_and_profile() {
    assert_eq!(rules(GOOD), []);
    let program = load(GOOD, Some("quick"), &Flat).expect("loads");
    assert_eq!(program.pipeline.steps["train"].timeout.as_deref(), Some("1m"));
    assert_eq!(program.pipeline.steps["pick"].timeout.as_deref(), Some("5m"));
    assert!(program.pipeline.steps["check"].env.is_empty());
    assert!(load(GOOD, Some("quik"), &Flat).is_err());
}

#[test]
fn findings_come_all_at_once_and_point_at_the_place() {
    let text = GOOD
        .replace("check.dataset }", "chek.dataset }")
        .replace("{{ params.n }}", "{{ params.m }}")
        .replace("train.*.model", "train.model")
        .replace("best: pick.best", "best: pick.bst")
        .replace("path: data", "path: ../data");
    let expected = [
        ("path-outside", "../data".to_owned()),
        ("undefined-variable", "params.m".to_owned()),
        ("unknown-reference", "chek.dataset".to_owned()),
        ("join-needed", "train.model".to_owned()),
        ("undeclared-output", "pick.bst".to_owned()),
    ];
    assert_eq!(rules(&text), expected);
}

#[test]
fn a_lamed_step_is_not_blamed_twice() {
    let text = GOOD.replace("outputs: { model: m.onnx }", "output: { model: m.onnx }");
    assert_eq!(rules(&text), [("unknown-key", "output".to_owned())]);
    let text = GOOD.replace("run: python t.py", "run: [python, t.py]\n    help:");
    assert_eq!(rules(&text).len(), 1, "{:?}", rules(&text));
}

/// Ten lists of ten of ten of ten, in each of a thousand steps, once took gigabytes.
#[test]
fn defaults_do_not_multiply_without_end() {
    let mut text = String::from("flowrun: 1\nx-a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for (name, of) in [("b", "a"), ("c", "b")] {
        text.push_str(&format!("x-{name}: &{name} [{}]\n", [format!("*{of}").as_str(); 10].join(", ")));
    }
    text.push_str("defaults: { env: { X: *c } }\nsteps:\n");
    (0..1000).for_each(|number| text.push_str(&format!("  s{number}: {{ run: 'true' }}\n")));
    let findings = load(&text, None, &Flat).expect_err("a bomb");
    assert_eq!(findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), [Rule::Bomb]);
}

#[test]
fn defaults_of_run_steps_are_not_laid_under_others() {
    let text = "flowrun: 1\ndefaults: { tools: [jq], network: false, sandbox: off, env: { A: 1 } }\nsteps:\n  \
                a: { run: 'true' }\n  b: { fail: no, if: false }\n";
    let program = load(text, None, &Flat).expect("loads");
    let (a, b) = (&program.pipeline.steps["a"], &program.pipeline.steps["b"]);
    assert_eq!((a.tools.len(), a.network, a.env.len()), (1, Some(false), 1));
    assert_eq!((b.tools.len(), b.network, b.env.len()), (0, None, 0));
    assert!(a.sandbox.is_some() && b.sandbox.is_none());
}
