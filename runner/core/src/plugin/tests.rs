use serde_json::json;

use super::settings::Settings;
use super::*;

const GOOD: &str = r#"
flowrun_plugin: 1
name: acme/blur
version: 1.2.0-rc.1
summary: Blurs faces
license: Apache-2.0
with:
  properties:
    radius: { type: number, minimum: 1, maximum: 50, default: 8 }
    mode: { enum: [box, gauss] }
    size: { type: object, properties: { width: { type: integer } }, additionalProperties: false }
    name: { type: string, pattern: "^(a+)+$" }
  required: [radius]
inputs:
  images: { type: dir, help: pictures }
outputs:
  images: { type: dir }
  report: { type: file, optional: true, merge: lines }
values:
  count: { help: how many, merge: sum }
capabilities: { clock: stamps the report }
shard: { input: images, files: ["*.jpg"] }
"#;

fn wrong(text: &str) -> Vec<String> {
    Described::parse(text).expect_err("refused").into_iter().map(|finding| finding.message).collect()
}

#[test]
fn a_good_manifest_is_read() {
    let manifest = Described::parse(GOOD).expect("good").manifest;
    assert_eq!(manifest.reference(), "acme/blur@1");
    assert_eq!(manifest.capabilities.reason(Capability::Clock), Some("stamps the report"));
    assert_eq!(manifest.capabilities.reason(Capability::Network), None);
    assert_eq!(manifest.outputs["report"].merge, Merging::All(Merge::Lines));
}

#[test]
fn outputs_are_merged_in_one_way_or_by_the_names_of_their_files() {
    let merged = |rule: &str| Described::parse(&GOOD.replace("merge: lines", &format!("merge: {rule}")));
    let Merging::Files(rules) =
        merged("{ '*.csv': lines, '*': union }").expect("good").manifest.outputs["report"].merge.clone()
    else {
        panic!("by names");
    };
    assert_eq!(rules.into_iter().collect::<Vec<_>>(), [("*.csv".into(), Merge::Lines), ("*".into(), Merge::Union)]);
    assert!(wrong(&GOOD.replace("merge: lines", "merge: words"))[0].contains("cannot be `words`"));
    assert!(wrong(&GOOD.replace("merge: lines", "merge: { '*': words }"))[0].contains("cannot be `words`"));
}

#[test]
fn what_is_wrong_with_a_manifest_is_said_all_at_once() {
    let text =
        GOOD.replace("acme/blur", "Blur").replace("1.2.0-rc.1", "'1.2'").replace("input: images", "input: picture");
    assert_eq!(wrong(&text), ["`Blur` is not a plugin's name", "`1.2` is not a version", "no input `picture`"]);
    assert_eq!(wrong(&GOOD.replace("license", "licence")), ["unknown key `licence` in the manifest"]);
    assert_eq!(
        wrong("name: a/b"),
        ["flowrun_plugin", "version", "summary"].map(|key| format!("the manifest needs the key `{key}`"))
    );
    assert!(wrong(&GOOD.replace("type: number,", "type: numeral,"))[0].starts_with("`with` is not a JSON Schema: "));
    assert!(wrong(&format!("{GOOD}#{}", "x".repeat(LARGEST)))[0].contains("larger than 64 KiB"));
    assert_eq!(wrong(&GOOD.replace("clock:", "clocks:"))[0], "unknown key `clocks` in `capabilities`");
}

#[test]
fn a_schema_that_fetches_or_never_ends_is_refused() {
    for schema in [
        json!({"$ref": "https://example.com/schema.json"}),
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"properties": {"a": {"pattern": "(?=x)"}}}),
    ] {
        Settings::new(schema.as_object().expect("object")).expect_err(&schema.to_string());
    }
    let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}});
    Settings::new(tree.as_object().expect("object")).expect("a tree goes deeper each time");
}

fn misfits(with: Json, rendered: bool) -> Vec<(String, String)> {
    let settings = Described::parse(GOOD).expect("good").settings;
    let found = settings.misfits(with.as_object().expect("object"), rendered);
    found
        .into_iter()
        .map(|misfit| {
            (
                misfit.path.join("."),
                format!("{} / {} / {}", misfit.message, misfit.expected, misfit.hint.unwrap_or_default()),
            )
        })
        .collect()
}

#[test]
fn settings_are_judged_by_the_schema() {
    assert_eq!(misfits(json!({"radius": 3, "mode": "box", "size": {"width": 3}}), false), []);
    let one = |with| misfits(with, false).remove(0);
    assert_eq!(
        one(json!({"radius": 3, "moed": "box"})),
        (
            "moed".to_owned(),
            "unknown key `moed` in `with` / not a setting of the plugin / did you mean `mode`?".to_owned()
        )
    );
    assert_eq!(
        one(json!({"radius": 3, "size": {"widht": 1}})),
        (
            "size.widht".to_owned(),
            "unknown key `size.widht` in `with` / not a setting of the plugin / did you mean `width`?".to_owned()
        )
    );
    assert_eq!(one(json!({})).1, "`with` needs the key `radius` / `radius` is missing / ");
    assert_eq!(one(json!({"radius": "3"})).1, "`with.radius` is not a number / expected a number / ");
    assert_eq!(one(json!({"radius": 0})).1, "`with.radius` is less than 1 / expected at least 1 / ");
    assert_eq!(
        one(json!({"radius": 3, "mode": "gaus"})).1,
        "`with.mode` cannot be `gaus` / expected `box` or `gauss` / did you mean `gauss`?"
    );
    // Patterns take linear time, whatever a stranger writes.
    assert_eq!(misfits(json!({"radius": 3, "name": format!("{}!", "a".repeat(5000))}), false).len(), 1);
}

#[test]
fn a_template_is_judged_when_it_is_rendered() {
    let with = json!({"radius": "{{ params.r }}", "mode": "{{ params.m }}", "size": {"width": "{{ params.w }}"}});
    assert_eq!(misfits(with.clone(), false), []);
    assert_eq!(misfits(with, true).len(), 3);
    assert_eq!(misfits(json!({"radius": "{{ params.r }}", "odd": "{{ params.x }}"}), false).len(), 1);
}

#[test]
fn patterns_of_files_are_names_with_stars() {
    let divided =
        |files: &[&str]| Divided { input: "x".into(), files: files.iter().map(|text| (*text).to_owned()).collect() };
    assert!(divided(&[]).takes("anything"));
    assert!(divided(&["*.jpg", "*.png"]).takes("a b.JPG"));
    assert!(!divided(&["*.jpg"]).takes("a.jpg.txt"));
    assert!(divided(&["a?c*"]).takes("abcd"));
    assert!(!divided(&["a?c*"]).takes("acd"));
    assert!(!divided(&["*a*a*a*a*a*b"]).takes(&"a".repeat(5000)));
}
