//! Expressions and templates. Promised of any text: a value or an error within the fuel, never a panic; the same twice, since keys are made of
//! what is rendered; an error's place lies inside the text; a word quoted for the shell is that word again.

use flowrun_core::expr::{
    BadTemplate, Quote, Scope, evaluate, expression_names, names, render, render_json, shell_word, whole,
};
use serde_json::json;

/// Compiles, evaluates and renders the text, in every way in which a pipeline may use it.
pub fn reads(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let context = context();
    lies_inside(text, names(text));
    lies_inside(text, expression_names(text));
    assert!(whole(text).is_none_or(|inner| text.contains(inner)));
    assert_eq!(unquoted(&shell_word(text)).as_deref(), Some(text), "the shell reads another word");
    if is_promise(text) {
        return;
    }
    for quote in [Quote::Plain, Quote::Shell] {
        let rendered = render(text, &context, quote);
        assert_eq!(rendered, render(text, &context, quote), "the same template gives two texts");
        lies_inside(text, rendered);
    }
    let value = evaluate(text, &context);
    assert_eq!(value, evaluate(text, &context), "the same expression gives two values");
    lies_inside(text, value);
    let _ = render_json(&json!({"with": [text]}), &context);
}

/// Whether a list may be promised that is larger than memory, which is admitted in `expr`: by multiplying one, or by adding in statements.
fn is_promise(text: &str) -> bool {
    text.contains('*') || (text.contains("{%") && text.contains('+'))
}

fn lies_inside<T>(text: &str, found: Result<T, BadTemplate>) {
    if let Err(BadTemplate { range: Some(range), .. }) = found {
        assert!(text.get(range.clone()).is_some(), "{range:?} lies outside the {} bytes", text.len());
    }
}

/// Every type that a name in reach may have.
fn context() -> Scope {
    let names = json!({
        "params": {
            "n": 3, "rate": 0.5, "flag": true, "nothing": null, "name": "it's; rm -rf /", "leaf": "Blätter 🌿",
            "list": [1, 2, 3], "deep": {"a": [{"b": "c"}, {"b": "d"}]}, "big": u64::MAX, "low": i64::MIN,
        },
        "train": {"values": [{"map50": 0.4}, {"map50": 0.6}]},
        "evaluate": {"values": {"map50": 0.43, "folds": ["x", "y"]}},
        "matrix": {"seed": 1}, "item": ["a", "b"],
        "inputs": {"dataset": "in/dataset"}, "outputs": {"model": "out/model.onnx"},
    });
    names.as_object().map(Scope::from).unwrap_or_default()
}

/// One word as the POSIX shell reads it (XCU 2.2: single quotes, backslashes); nothing where it would be several, or more than a word.
fn unquoted(word: &str) -> Option<String> {
    let mut read = String::new();
    let mut chars = word.chars();
    let mut any = false;
    while let Some(c) = chars.next() {
        any = true;
        match c {
            '\'' => loop {
                match chars.next()? {
                    '\'' => break,
                    quoted => read.push(quoted),
                }
            },
            '\\' => read.push(chars.next()?),
            bare if bare.is_ascii_alphanumeric() || "@%+=:,./-_".contains(bare) => read.push(bare),
            _ => return None,
        }
    }
    any.then_some(read)
}
