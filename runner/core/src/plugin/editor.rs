//! The pipeline's schema for editors, with what known plugins take: a step that uses one is completed and checked as it is typed.
//!
//! ```text
//! Step ── allOf ─► if uses is `flowrun/table@1` then with, inputs, outputs are those of its manifest
//! ```
//! It says less than `flowrun check` does and nothing else: any setting may be a template instead, whose value no editor knows.

use serde_json::{Map, Value as Json, json};

use super::{Manifest, settings};

/// Puts plugins, by the names that `uses` writes, into the schema of pipeline files.
pub fn with_plugins<'a>(mut schema: Json, plugins: impl Iterator<Item = (&'a str, &'a Manifest)>) -> Json {
    let rules: Vec<Json> = plugins.map(|(uses, manifest)| rule(uses, manifest)).collect();
    if let Some(step) = schema.pointer_mut("/$defs/Step").and_then(Json::as_object_mut) {
        step.insert("allOf".to_owned(), rules.into());
    }
    schema
}

fn rule(uses: &str, manifest: &Manifest) -> Json {
    let inputs = manifest.inputs.iter().map(|(name, input)| (name, input.help.as_str()));
    let outputs = manifest.outputs.iter().map(|(name, output)| (name, output.help.as_str()));
    json!({
        "if": { "properties": { "uses": { "const": uses } }, "required": ["uses"] },
        "then": { "properties": {
            "uses": { "description": manifest.summary },
            "with": templated(&Json::Object(settings::closed(&manifest.with))),
            "inputs": ports(inputs),
            "outputs": ports(outputs),
        } },
    })
}

fn ports<'a>(ports: impl Iterator<Item = (&'a String, &'a str)>) -> Json {
    let ports: Map<String, Json> = ports.map(|(name, help)| (name.clone(), json!({ "description": help }))).collect();
    json!({ "properties": ports, "additionalProperties": false })
}

/// The same schema, where any value inside may be a template instead.
fn templated(schema: &Json) -> Json {
    let Json::Object(object) = schema else { return schema.clone() };
    let mut object = object.clone();
    if let Some(Json::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(|property| *property = or_template(property));
    }
    if let Some(items) = object.get_mut("items") {
        *items = or_template(items);
    }
    Json::Object(object)
}

fn or_template(schema: &Json) -> Json {
    let mut either = Map::new();
    // What an editor shows stays where editors look for it.
    for shown in ["description", "default"] {
        either.extend(schema.get(shown).map(|value| (shown.to_owned(), value.clone())));
    }
    either.insert("anyOf".to_owned(), json!([templated(schema), { "type": "string", "pattern": "\\{\\{" }]));
    Json::Object(either)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::written;
    use crate::plugin::Described;

    const MANIFEST: &str = "flowrun_plugin: 1\nname: acme/blur\nversion: 1.0.0\nsummary: Blurs\n\
        with: { properties: { radius: { type: number }, names: { type: array, items: { type: integer } } } }\n\
        inputs: { images: { type: dir } }\noutputs: { images: { type: dir } }\n";

    fn fits(step: Json) -> bool {
        let described = Described::parse(MANIFEST).expect("good");
        let schema = with_plugins(written::schema(), [("acme/blur@1", &described.manifest)].into_iter());
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        validator.is_valid(&json!({ "flowrun": 1, "steps": { "a": step } }))
    }

    #[test]
    fn a_step_of_a_known_plugin_is_held_to_its_manifest() {
        let step = |with: Json, inputs: Json| json!({ "uses": "acme/blur@1", "with": with, "inputs": inputs });
        assert!(fits(step(json!({ "radius": 2 }), json!({ "images": "sources.x" }))));
        assert!(fits(step(json!({ "radius": "{{ params.r }}", "names": ["{{ params.n }}", 2] }), json!({}))));
        assert!(!fits(step(json!({ "radius": "wide" }), json!({}))));
        assert!(!fits(step(json!({ "names": ["x"] }), json!({}))));
        assert!(!fits(step(json!({ "radus": 2 }), json!({}))));
        assert!(!fits(step(json!({}), json!({ "image": "sources.x" }))));
        // Others are not.
        assert!(fits(json!({ "uses": "./mine.wasm", "with": { "radus": 2 }, "inputs": { "image": "sources.x" } })));
    }
}
