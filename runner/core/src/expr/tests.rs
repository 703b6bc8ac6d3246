use super::*;
use serde_json::json;

fn context() -> Scope {
    let value = json!({"params": {"n": 3, "name": "it's; rm -rf /", "list": [1, 2], "rate": 0.5}});
    Scope::from(value.as_object().expect("object"))
}

#[test]
fn values_are_quoted_for_the_shell_unless_raw() {
    let text =
        render("echo {{ params.name }} {{ params.n }} {{ params.list }}", &context(), Quote::Shell).expect("renders");
    assert_eq!(text, r"echo 'it'\''s; rm -rf /' 3 '[1,2]'");
    let text = render("echo {{ params.name | raw }}", &context(), Quote::Shell).expect("renders");
    assert_eq!(text, "echo it's; rm -rf /");
}

#[test]
fn whole_strings_keep_their_type() {
    let with = json!({"seed": "{{ params.n }}", "text": "n={{ params.n }}", "deep": [{"x": "{{ params.list }}"}]});
    let rendered = render_json(&with, &context()).expect("renders");
    assert_eq!(rendered, json!({"seed": 3, "text": "n=3", "deep": [{"x": [1, 2]}]}));
}

#[test]
fn undefined_names_and_endless_loops_are_errors() {
    assert!(render("{{ params.m }}", &context(), Quote::Plain).is_err());
    assert!(evaluate("params.m", &context()).is_err());
    assert!(evaluate("nobody.values.x < 1", &context()).is_err());
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    assert!(render(endless, &context(), Quote::Plain).is_err());
}

#[test]
fn names_are_found() {
    let found = names("{{ params.n }} {% for x in train.values %}{{ x.acc }}{% endfor %}").expect("parses");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["params.n", "train.values"]);
    let found = expression_names("evaluate.values.map50 < params.min").expect("parses");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["evaluate.values.map50", "params.min"]);
}

#[test]
fn the_place_of_an_error_lies_in_the_text() {
    let place = |found: Result<Json, BadTemplate>| found.expect_err("bad").range.expect("placed");
    assert_eq!(names("{# é").expect_err("bad").range, Some(5..5));
    assert_eq!(place(evaluate("{{ params.n | nobody }}", &context())), 14..20);
    assert_eq!(place(evaluate("params.n +", &context())), 9..10);
}

/// Each of these once took all memory, or the whole stack.
#[test]
fn nothing_small_becomes_endless() {
    for bomb in ["[[1] * 1000000] * 1000000", "{'a': [[1] * 1000000] * 1000000}", "[1] * 99999999"] {
        assert!(evaluate(bomb, &context()).is_err(), "{bomb}");
        for quote in [Quote::Plain, Quote::Shell] {
            assert!(render(&format!("x {{{{ {bomb} }}}}"), &context(), quote).is_err(), "{bomb}");
        }
    }
    let itself = "{% set n = namespace(a=1) %}{% set n.a = n %}{{ n }}";
    assert!(names(itself).expect("well-formed").contains("namespace"), "the checker refuses it");
    assert!(render(itself, &context(), Quote::Plain).is_err());
}

#[test]
fn what_nests_too_deep_to_compile_is_refused() {
    let sum = format!("1{}", " + 1".repeat(100_000));
    assert!(evaluate(&sum, &context()).is_err() && expression_names(&sum).is_err());
    let branches = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(100_000));
    for template in [format!("{{{{ {sum} }}}}"), branches] {
        assert!(names(&template).is_err() && render(&template, &context(), Quote::Plain).is_err());
    }
    let script = format!("{}{{{{ params.n }}}}", "# a long script\n".repeat(10_000));
    assert!(render(&script, &context(), Quote::Shell).expect("renders").ends_with("3"));
}

#[test]
fn lists_that_operators_join_are_json_too() {
    let text = render("{{ params.list + [3] }}", &context(), Quote::Plain).expect("renders");
    assert_eq!(text, "[1,2,3]");
}

/// What is read without the engine means what it means to the engine, also its errors.
mod plainly {
    use super::*;
    use proptest::prelude::*;

    fn piece() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            Just("params.n"),
            Just("params.name"),
            Just("params.list"),
            Just("params.rate"),
            Just("params"),
            Just("params.deep.x"),
            Just("params.none"),
            Just("params.missing"),
            Just("params.deep.missing"),
            Just("nobody.x"),
            Just("range"),
            Just("loop"),
            Just("none"),
            Just("not params.n"),
            Just("params.n | upper"),
            Just("params.n + 1"),
            Just("params.0"),
            Just("params .n"),
            Just("if"),
            Just("in.x"),
            Just("params.not"),
            Just("params.if"),
            Just("self"),
            Just("super"),
            Just("'x'"),
            Just("é"),
            Just(""),
            Just("params.n -"),
            Just("- params.n"),
            Just("{ params.n"),
            Just("params.n }"),
            Just("is"),
            Just("else"),
            Just("dict"),
        ];
        let between = prop_oneof![Just("{{"), Just("{{ "), Just("{{-"), Just("{{  "), Just("{{\n"), Just("{{+")];
        let end = prop_oneof![Just("}}"), Just(" }}"), Just("-}}"), Just("\t}}"), Just("}"), Just("}}}")];
        prop_oneof![
            6 => (between, name, end).prop_map(|(open, name, close)| format!("{open}{name}{close}")),
            3 => "[a-z{}%# \r\n'$\"]{0,6}",
            1 => Just("{# c #}".to_owned()),
            1 => Just("{% if params.n %}y{% endif %}".to_owned()),
        ]
    }

    fn scope() -> Scope {
        let value = json!({"params": {"n": 3, "name": "it's; rm -rf /", "list": [1, "a b"], "rate": 0.5, "deep": {"x": true, "y": [{}]},
            "none": null, "large": u64::MAX, "small": -1e-9, "not": "word", "if": ""}, "in": {"x": 1}, "is": 2, "super": 3});
        Scope::from(value.as_object().expect("object"))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]
        #[test]
        fn as_the_engine_does(pieces in proptest::collection::vec(piece(), 1..4)) {
            let (template, scope) = (pieces.concat(), scope());
            for quote in [Quote::Plain, Quote::Shell] {
                let slow = match template.contains("{{") || template.contains("{%") || template.contains("{#") {
                    true => render_by_engine(&template, &scope, quote),
                    false => Ok(template.clone()),
                };
                prop_assert_eq!(render(&template, &scope, quote), slow);
            }
            let by_engine = PLAIN.template_from_str(&template).ok().map(|parsed| without_builtins(parsed.undeclared_variables(true)));
            prop_assert_eq!(names(&template).ok(), by_engine);
            let inner = pieces[0].trim_start_matches("{{").trim_end_matches("}}");
            let by_engine = PLAIN.compile_expression(inner).ok().map(|parsed| without_builtins(parsed.undeclared_variables(true)));
            prop_assert_eq!(expression_names(inner).ok(), by_engine);
            let slow = evaluate_by_engine(inner, inner, &scope).and_then(|value| match value.is_undefined() {
                true => Err(BadTemplate::plain("undefined")),
                false => serde_json::to_value(&value).map_err(|error| BadTemplate::plain(error.to_string())),
            });
            prop_assert_eq!(evaluate(inner, &scope).ok(), slow.ok());
        }
    }
}
