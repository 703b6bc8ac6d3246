//! The pipeline file. Promised of any text: a program or findings, never a panic; every finding lies inside the text, on whole characters; a
//! program has a plan in which each step comes after what it waits for.

use std::collections::BTreeSet;

use flowrun_core::lang::finding::Finding;
use flowrun_core::lang::{Program, World, load, yaml};
use flowrun_core::plan::{Plan, results};

/// A project in which every path is there, but for those that say that they are missing.
struct Project;

impl World for Project {
    fn exists(&self, path: &str) -> Option<bool> {
        let inside = !path.starts_with('/') && path.split('/').all(|part| part != "..");
        inside.then(|| !path.contains("missing"))
    }

    fn plugins(&self) -> Vec<String> {
        ["boxes-check", "boxes-augment", "coco-eval"].map(|name| format!("flowrun/{name}@1")).into()
    }

    fn describe(&self, _: &str) -> Result<Option<std::sync::Arc<flowrun_core::plugin::Described>>, String> {
        Ok(None)
    }
}

/// Loads the text plainly, and with its first profile where it speaks of profiles.
pub fn reads(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    judge(text, None);
    if text.contains("profiles") {
        judge(text, first_profile(text).as_deref().or(Some("nobody")));
    }
}

fn judge(text: &str, profile: Option<&str>) {
    match load(text, profile, &Project) {
        Ok(program) => is_planned(&program),
        Err(findings) => {
            assert!(!findings.is_empty(), "refused without a finding");
            findings.iter().for_each(|finding| lies_inside(text, finding));
        }
    }
}

fn first_profile(text: &str) -> Option<String> {
    let (node, _) = yaml::read(text).ok()?;
    node.get("profiles")?.entries().first().map(|(key, _)| key.name.clone())
}

fn lies_inside(text: &str, finding: &Finding) {
    assert!(text.get(finding.span.clone()).is_some(), "{finding:?} lies outside the {} bytes", text.len());
    assert!(!finding.message.is_empty(), "{finding:?} says nothing");
}

fn is_planned(program: &Program) {
    let plan = Plan::new(program);
    assert_eq!(plan.steps.len(), program.pipeline.steps.len(), "steps were lost between the file and the plan");
    let ids: BTreeSet<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids.len(), plan.steps.len(), "a step is planned twice");
    for (index, step) in plan.steps.iter().enumerate() {
        assert!(step.waits.iter().all(|(before, _)| before.0 < index), "`{}` comes before what it waits for", step.id);
        let _ = (step.timeout(), step.retry());
    }
    assert_eq!(plan.specs(None).len(), plan.steps.len());
    assert_eq!(results(&program.pipeline).count(), program.pipeline.results.len(), "a result is no reference");
}
