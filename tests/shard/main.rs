//! `shard: true`: a folder divided over parts that run side by side, are cached each on its own, and become one.

#[path = "../support/mod.rs"]
mod support;

use support::Bed;

const TEXTS: usize = 60;

fn bed(extra: &str) -> Bed {
    let bed = Bed::new(&format!(
        "flowrun: 1\nsources: {{ texts: {{ path: texts }} }}\nsteps:\n  upper:\n    uses: ./upper.wasm\n    {extra}\n    inputs: {{ texts: sources.texts }}\n    \
         outputs: {{ texts: dir, table: table.csv }}\n    values: [bytes, names, kind]\n  after:\n    run: sort {{{{ inputs.table }}}} > {{{{ outputs.sorted }}}}\n    \
         inputs: {{ table: upper.table }}\n    outputs: {{ sorted: sorted.csv }}\nresults: {{ texts: upper.texts, table: upper.table, sorted: after.sorted }}\n"
    ));
    for file in ["upper.wasm", "upper.plugin.yaml"] {
        let from = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shard").join(file);
        std::fs::copy(from, bed.path(file)).expect("copied");
    }
    std::fs::create_dir_all(bed.path("texts/deep")).expect("mkdir");
    for number in 0..TEXTS {
        let folder = if number % 2 == 0 { "texts" } else { "texts/deep" };
        bed.write(&format!("{folder}/text {number}.md"), &format!("text number {number}\n"));
    }
    bed.write("texts/shared.txt", "for all\n");
    bed
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The parts that ran, and whether they were put together anew.
fn ran(bed: &Bed) -> (Vec<String>, bool) {
    let said = bed.flowrun(&["run", "--json"]).ok();
    let event = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("an event");
    let finished = said.stdout.lines().map(event).filter(|event| event["event"] == "finished");
    let ran: Vec<String> = finished.map(|event| event["step"].as_str().expect("a step").to_owned()).collect();
    let parts = ran.iter().filter(|step| step.starts_with("upper[")).cloned().collect();
    (parts, ran.iter().any(|step| step == "upper"))
}

#[test]
fn a_divided_step_makes_what_an_undivided_one_makes() {
    let (whole, parts) = (bed(""), bed("shard: true"));
    whole.flowrun(&["run"]).ok();
    parts.flowrun(&["run", "--jobs", "2"]).ok();
    let read = |bed: &Bed, name: &str| std::fs::read_to_string(bed.path("results/p").join(name)).expect(name);
    assert_eq!(sorted(&read(&whole, "table.csv")), sorted(&read(&parts, "table.csv")));
    assert_eq!(read(&whole, "sorted.csv"), read(&parts, "sorted.csv"));
    assert!(read(&parts, "table.csv").starts_with("name,bytes\n"));
    for number in 0..TEXTS {
        let name =
            if number % 2 == 0 { format!("texts/text {number}.md") } else { format!("texts/deep/text {number}.md") };
        assert_eq!(read(&parts, &name), format!("TEXT NUMBER {number}\n"));
    }
    assert_eq!(read(&parts, "texts/shared.txt"), "for all\n");
}

#[test]
fn only_the_part_of_what_changed_runs() {
    let bed = bed("shard: true");
    let (first, gathered) = ran(&bed);
    assert!(first.len() > 8 && first.len() <= 16 && gathered, "{first:?}");
    assert_eq!(ran(&bed), (vec![], false), "nothing has changed");

    bed.write("texts/text 0.md", "another text\n");
    let (changed, gathered) = ran(&bed);
    assert!(changed.len() == 1 && gathered, "{changed:?}");
    bed.write("texts/new.md", "new\n");
    let (added, gathered) = ran(&bed);
    assert!(added.len() == 1 && gathered, "{added:?}");
    std::fs::remove_file(bed.path("texts/new.md")).expect("removed");
    assert_eq!(ran(&bed), (vec![], false), "it is as it was");
    bed.write("texts/shared.txt", "for all of you\n");
    assert_eq!(ran(&bed).0.len(), first.len(), "all parts read it");
}

#[test]
fn a_plan_knows_the_parts_and_a_failed_one_is_no_whole() {
    let bed = bed("shard: { parts: 3 }");
    let said = bed.flowrun(&["plan"]).ok();
    for label in ["upper[1of3]", "upper[2of3]", "upper[3of3]"] {
        assert!(said.stdout.contains(label), "{}", said.stdout);
    }
    std::fs::write(bed.path("texts/odd.md"), b"\xff").expect("written");
    bed.flowrun(&["run", "--keep-going"]).fails(1);
    assert!(!bed.path("results").exists(), "a part was published for the whole");
    std::fs::remove_file(bed.path("texts/odd.md")).expect("removed");
    let (parts, gathered) = ran(&bed);
    assert!(parts.len() == 1 && gathered, "{parts:?}");
}

#[test]
fn what_cannot_become_one_is_named() {
    let signed = bed("shard: true\n    with: { sign: true }");
    let said = signed.flowrun(&["run"]).fails(1);
    said.says("`shared.txt` of output `texts`, made by parts 01of16 and")
        .says("differs between them")
        .says("`rows` or `lines`");
    let own = bed("shard: true");
    let text = own.read("p.yaml").replace("names, kind]", "names, own]");
    own.write("p.yaml", &text);
    own.flowrun(&["run"]).fails(1).says("value `own` of the parts cannot become one");
}

#[test]
fn a_folder_with_nothing_to_divide_is_one_part() {
    let bed = bed("shard: true");
    std::fs::remove_dir_all(bed.path("texts")).expect("removed");
    bed.write("texts/shared.txt", "alone\n");
    assert_eq!(ran(&bed).0, ["upper[01of16]"]);
    assert_eq!(bed.read("results/p/table.csv"), "name,bytes\n");
}
