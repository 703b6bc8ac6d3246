//! Findings about a file, drawn with the line and a caret as compilers do.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use flowrun_core::lang::finding::{Finding, Span};
use flowrun_core::outcome::Failure;
use flowrun_engine::locking::Place;

use super::amount::count;

/// All findings, and how many there are. The same for every terminal width: a file's findings are compared in tests.
pub(crate) fn draw(shown: &str, text: &str, findings: &[Finding], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut drawn = String::new();
    for finding in findings {
        drawn.push_str(&renderer.render(&[group(shown, text, finding)]));
        drawn.push_str("\n\n");
    }
    let title = Level::ERROR.primary_title(format!("{} in {shown}", count(findings.len(), "problem")));
    drawn.push_str(&renderer.render(&[Group::with_title(title)]));
    drawn.push('\n');
    drawn
}

/// What could not be locked, under the line that asks for it.
pub(crate) fn draw_failure(place: &Place, failure: &Failure, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let title = Level::ERROR.primary_title(annotate_snippets::normalize_untrusted_str(&failure.message));
    let mark = AnnotationKind::Primary.span(first_line(&place.text, &place.span)).label("asked for here");
    let mut group = title.element(Snippet::source(&place.text).path(&place.shown).annotation(mark));
    if let Some(hint) = &failure.hint {
        group = group.element(Level::HELP.message(annotate_snippets::normalize_untrusted_str(hint)));
    }
    renderer.render(&[group])
}

fn group<'a>(shown: &'a str, text: &'a str, finding: &'a Finding) -> Group<'a> {
    let title = Level::ERROR.primary_title(finding.message.as_str()).id(finding.rule.name());
    let label = (!finding.label.is_empty()).then_some(finding.label.as_str());
    let mark = AnnotationKind::Primary.span(first_line(text, &finding.span)).label(label);
    let mut group = title.element(Snippet::source(text).path(shown).annotation(mark));
    if let Some(hint) = &finding.hint {
        group = group.element(Level::HELP.message(annotate_snippets::normalize_untrusted_str(hint)));
    }
    group
}

/// The finding's bytes up to the end of their first line: a caret under many lines points at nothing.
fn first_line(text: &str, span: &Span) -> Span {
    let start = text.floor_char_boundary(span.start);
    let end = text.floor_char_boundary(span.end).max(start);
    let slice = &text[start..end];
    start..start + slice.split('\n').next().unwrap_or_default().trim_end().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flowrun_core::lang::finding::Rule;

    #[test]
    fn a_finding_shows_its_line_a_caret_and_a_hint() {
        let text = "flowrun: 1\nsteps:\n  a:\n    rnu: |\n      x\n";
        let at = text.find("rnu").expect("there");
        let one = Finding::new(Rule::UnknownKey, at..at + 3, "no key `rnu` in a step").expected("unknown");
        let two = Finding::new(Rule::Syntax, at + 5..text.len(), "many lines");
        let drawn = draw("p/x.yaml", text, &[one.hint("did you mean `run`?"), two], false);
        let expected = "\
error[unknown-key]: no key `rnu` in a step
 --> p/x.yaml:4:5
  |
4 |     rnu: |
  |     ^^^ unknown
  |
  = help: did you mean `run`?

error[syntax]: many lines
 --> p/x.yaml:4:10
  |
4 |     rnu: |
  |          ^

error: 2 problems in p/x.yaml
";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn places_outside_the_text_and_an_empty_file_are_survived() {
        for (text, span) in [("", 0..0), ("a: é", 4..5), ("a", 5..9)] {
            let drawn = draw("x.yaml", text, &[Finding::new(Rule::Syntax, span, "odd")], true);
            assert!(drawn.contains("odd"));
        }
    }
}
