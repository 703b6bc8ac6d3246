//! The reference of the pipeline file, written from the same schema that checks it.

use std::fmt::Write;

use serde_json::Value as Json;

use super::finding::Rule;
use super::written;

/// The reference as Markdown.
pub fn reference() -> String {
    let schema = written::schema();
    let mut text = String::from(
        "# Pipeline reference\n\n<!-- Written by `flowrun schema --markdown`; a test compares it. -->\n\n\
         `flowrun schema` prints the JSON Schema; editors complete keys with\n\
         `# yaml-language-server: $schema=PATH/schemas/pipeline.schema.json` in the first line.\n\
         Keys at the top that start with `x-` are yours, for anchors.\n",
    );
    section(&mut text, "The pipeline", &schema, &schema);
    let order = [
        "Param",
        "Source",
        "Step",
        "Python",
        "Limits",
        "Shard",
        "Parts",
        "Retry",
        "Resources",
        "Onnx",
        "EnvValue",
        "Condition",
        "Defaults",
        "Profile",
    ];
    for name in order {
        if let Some(definition) = schema.pointer(&format!("/$defs/{name}")) {
            section(&mut text, name, definition, &schema);
        }
    }
    text.push_str(TEMPLATES);
    text.push_str("\n## Rules\n\nEach is checked before anything runs; `tests/invalid/RULE.yaml` shows it broken.\n\n| rule | asks |\n|---|---|\n");
    for rule in Rule::ALL {
        let _ = writeln!(text, "| `{}` | {} |", rule.name(), rule.about());
    }
    text
}

fn section(text: &mut String, title: &str, definition: &Json, root: &Json) {
    let about = definition.get("description").and_then(Json::as_str).unwrap_or_default();
    let _ = write!(text, "\n## {title}\n\n{about}\n");
    if let Some(properties) = definition.get("properties").and_then(Json::as_object) {
        let required: Vec<&str> = definition
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        text.push_str("\n| key | type | |\n|---|---|---|\n");
        for (name, property) in properties {
            let mark = if required.contains(&name.as_str()) { ", required" } else { "" };
            let about = property
                .get("description")
                .and_then(Json::as_str)
                .unwrap_or_default()
                .replace('\n', " ")
                .replace('|', "\\|");
            let _ = writeln!(text, "| `{name}` | {}{mark} | {about} |", kind(property, root));
        }
    } else if let Some(choices) = definition.get("anyOf").and_then(Json::as_array) {
        text.push('\n');
        for choice in choices {
            let about = choice.get("description").and_then(Json::as_str).unwrap_or_default();
            let _ = writeln!(text, "- {}: {about}", kind(choice, root));
        }
    }
}

/// A type in words.
fn kind(schema: &Json, root: &Json) -> String {
    if let Some(target) = schema.get("$ref").and_then(Json::as_str) {
        let name = target.rsplit('/').next().unwrap_or(target);
        let definition = root.pointer(target.trim_start_matches('#'));
        let constants = definition.map(constants).unwrap_or_default();
        return if constants.is_empty() { format!("[{name}](#{})", name.to_lowercase()) } else { constants.join(", ") };
    }
    if let Some(choices) = schema.get("anyOf").and_then(Json::as_array) {
        let mut kinds: Vec<String> =
            choices.iter().map(|choice| kind(choice, root)).filter(|kind| kind != "null").collect();
        kinds.dedup();
        return kinds.join(" or ");
    }
    let one = |name: &str| match name {
        "array" => format!("list of {}", schema.get("items").map_or("anything".to_owned(), |items| kind(items, root))),
        "object" => match schema.get("additionalProperties") {
            Some(Json::Object(inner)) => format!("map to {}", kind(&Json::Object(inner.clone()), root)),
            _ => "map".to_owned(),
        },
        "string" if schema.get("pattern").is_some() => "template".to_owned(),
        other => other.to_owned(),
    };
    match schema.get("type") {
        Some(Json::String(name)) => one(name),
        Some(Json::Array(names)) => {
            let names = names.iter().filter_map(Json::as_str).filter(|name| *name != "null");
            names.map(one).collect::<Vec<_>>().join(" or ")
        }
        _ => "anything".to_owned(),
    }
}

fn constants(definition: &Json) -> Vec<String> {
    let listed = definition.get("enum").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
    let single =
        definition.get("oneOf").and_then(Json::as_array).into_iter().flatten().filter_map(|one| one["const"].as_str());
    listed.chain(single).map(|name| format!("`{name}`")).collect()
}

const TEMPLATES: &str = r#"
## References

| written | means |
|---|---|
| `sources.NAME` | a source |
| `STEP.OUTPUT` | what a step makes; the step runs first |
| `STEP.OUTPUT/path/inside` | something inside a folder |
| `STEP.*.OUTPUT` | all instances of a fan-out: a folder with one entry an instance, named by its label |

An input lies in the step's folder under `in/NAME` (a folder) or `in/NAME/FILE` (a file); an output is made under `out/`.

## Templates

`{{ expression }}` in `run`, `with`, `env`, `fail` and settings of `onnx`; a bare expression in `if` and `foreach`. The language is
[minijinja](https://docs.rs/minijinja)'s, strict: a name that is not defined is an error before anything runs. A string that is one template and nothing
else keeps its type. A value that starts with `{{` must be quoted, since YAML would read it as a map.

| name | where | is |
|---|---|---|
| `params.NAME` | everywhere | a param |
| `STEP.values.NAME` | everywhere but `matrix` | a value of an earlier step, which then runs first; `STEP.values` of a fan-out is the list of all |
| `matrix.NAME`, `item` | in a fan-out | what this instance runs over |
| `inputs.NAME`, `outputs.NAME` | `run`, `env` | paths, relative to the step's folder |

In `run`, values are quoted for the shell; `{{ value | raw }}` is not.

## What a `run` step starts with

`sh -eu` in a private folder that holds `in/`, `out/` and its `code`. Its environment is what `env` declares and: `PATH` (the Python environment's
programs and the step's tools), `HOME` and `TMPDIR` (private), `LANG=C.UTF-8`, `TZ=UTC`, `PYTHONHASHSEED=0`, `PYTHONUNBUFFERED=1`,
`PYTHONDONTWRITEBYTECODE=1`, `GIT_CONFIG_NOSYSTEM=1`, `FLOWRUN_VALUES` (the file for its values). What it leaves running is killed.

**Programs.** It finds those that its script names, those that shell files among its `code` name (and what runs other scripts there: `#!`), and those under `tools`; each is looked for on the
`PATH` of the shell that starts flowrun, and its bytes are part of the key. A word that names a program counts wherever it stands in the script. What no
word shows (a program that a Python file starts, or whose name is put together) is declared; `tar` brings its packers, and a compiler its assembler and linker. Folders called `shims` are passed over: declare the program itself.

**Files.** On Linux the kernel (Landlock) shows it its inputs, its code, the Python environment, its tools, and the system's libraries with what
they read of the machine, and lets it write in its own folder, `HOME` and `TMPDIR`; inputs are read-only. `/dev/shm` works as shared memory, and
graphics processors where `resources.gpu` asks for them. Everything else is refused, and the failure names the path and what to declare. `/tmp` is refused: use
`$TMPDIR`. Programs gain no rights (`sudo` does not work). `sandbox: off` lifts all this, and `plan` shows it.

**Network.** It has one, unless `network: false`; then a loopback of its own and nothing else, but for sockets with a path.
"#;
