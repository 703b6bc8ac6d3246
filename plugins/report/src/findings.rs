//! What was wrong with the data: counts by kind, each finding, and the suspects with their pictures.

use crate::album::Album;
use crate::html::{Text, count, grouped, put};
use crate::stories::{Finding, Findings, Suspect};

/// How many findings the table lists: beyond, one reads the file itself.
const ROWS: usize = 200;
/// How many suspects are shown.
const SUSPECTS: usize = 36;

/// Writes the section's body.
pub(crate) fn write(out: &mut String, findings: &Findings, album: &mut Album) {
    summary(out, findings);
    if findings.findings.is_empty() && findings.suspects.is_empty() {
        out.push_str(r#"<p class="good">The check found nothing to complain of.</p>"#);
        return;
    }
    out.push_str(r#"<div class="columns">"#);
    kinds(out, findings);
    table(out, &findings.findings);
    out.push_str("</div>");
    suspects(out, &findings.suspects, album);
}

fn summary(out: &mut String, findings: &Findings) {
    if findings.summary.is_empty() {
        return;
    }
    out.push_str(r#"<dl class="facts">"#);
    for (split, size) in &findings.summary {
        put!(out, "<div><dt>{}</dt><dd>{}, ", Text(split), count(size.images, "picture", "pictures"));
        put!(out, "{}</dd></div>", count(size.boxes, "box", "boxes"));
    }
    out.push_str("</dl>");
}

fn kinds(out: &mut String, findings: &Findings) {
    let mut counts: Vec<(&String, usize)> = findings.counts.iter().map(|(kind, &number)| (kind, number)).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let Some(most) = counts.first().map(|(_, number)| (*number).max(1)) else { return };
    out.push_str(r#"<ul class="kinds">"#);
    for (kind, number) in counts {
        put!(out, r#"<li style="--v:{:.4}"><span>{}</span>"#, number as f64 / most as f64, Text(&spoken(kind)));
        put!(out, "<b>{}</b></li>", grouped(number));
    }
    out.push_str("</ul>");
}

fn table(out: &mut String, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    out.push_str(
        r#"<div class="scroll tall" tabindex="0"><table class="words"><thead><tr><th>Where</th><th>Finding</th>"#,
    );
    out.push_str("<th>Done</th></tr></thead><tbody>");
    for finding in findings.iter().take(ROWS) {
        put!(out, "<tr><td>{}", Text(finding.split.as_deref().unwrap_or("data set")));
        if let Some(line) = finding.line {
            put!(out, " line {line}");
        }
        if let Some(file) = &finding.filename {
            put!(out, "<br><bdi>{}</bdi>", Text(file));
        }
        put!(out, "</td><td><b>{}</b><br>{}</td>", Text(&spoken(&finding.kind)), Text(&finding.message));
        put!(out, r#"<td><span class="action">{}</span></td></tr>"#, Text(&finding.action));
    }
    out.push_str("</tbody></table>");
    if findings.len() > ROWS {
        put!(out, r#"<p class="quiet">and {} more</p>"#, grouped(findings.len() - ROWS));
    }
    out.push_str("</div>");
}

fn suspects(out: &mut String, suspects: &[Suspect], album: &mut Album) {
    if suspects.is_empty() {
        return;
    }
    put!(out, "<h3>{} to look at</h3>", count(suspects.len(), "picture", "pictures"));
    out.push_str(r#"<div class="suspects">"#);
    for suspect in suspects.iter().take(SUSPECTS) {
        out.push_str(r#"<figure><div class="frame">"#);
        match album.embed(&suspect.split, &suspect.filename) {
            Ok(address) => {
                put!(out, r#"<img loading="lazy" decoding="async" alt="{}" src="{address}">"#, Text(&suspect.filename));
            }
            Err(absent) => put!(out, r#"<span class="absent">{absent}</span>"#),
        }
        put!(out, r#"</div><figcaption><b>{}</b>"#, Text(&spoken(&suspect.reason)));
        if let Some(score) = suspect.score.filter(|score| score.is_finite()) {
            put!(out, " {score:.2}");
        }
        put!(out, r#"<bdi title="{0}">{0}</bdi><small>{1}"#, Text(&suspect.filename), Text(&suspect.split));
        if let Some(class) = &suspect.class {
            put!(out, " · {}", Text(class));
        }
        out.push_str("</small></figcaption></figure>");
    }
    out.push_str("</div>");
    if suspects.len() > SUSPECTS {
        put!(out, r#"<p class="quiet">and {} more</p>"#, grouped(suspects.len() - SUSPECTS));
    }
}

/// `zero_area_box` as people write it.
fn spoken(word: &str) -> String {
    word.replace('_', " ")
}
