//! uv's words about a package without a wheel, taken apart: those of one version of uv.

/// What a package lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// A wheel for the platform.
    Platform,
    /// A wheel for the Python.
    Python,
    /// A wheel that fits. It has a source, as others have not, and uv does not say what other wheels it has.
    Wheel,
}

/// How uv says it: a package in front, what it lacks, and whether wheels of another kind are told.
pub(super) const SIGNS: [(&str, Lack); 6] = [
    ("no wheels with a matching platform tag", Lack::Platform),
    ("no wheels with a matching Python", Lack::Python),
    ("no wheels with a matching platform", Lack::Platform),
    ("no usable wheels", Lack::Wheel),
    ("no `pip`-compatible wheels", Lack::Wheel),
    ("no wheels", Lack::Wheel),
];

/// The words on one line, without the markers in braces that uv puts behind a package's name.
pub(super) fn one_line(stderr: &str) -> String {
    let words = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut plain = String::with_capacity(words.len());
    let mut rest = words.as_str();
    while let Some((before, marker)) = rest.split_once('{') {
        plain.push_str(before);
        rest = marker.split_once('}').map_or("", |(_, after)| after);
    }
    plain + rest
}

/// The package, with its version where uv tells one, and what it lacks.
pub(super) fn lacking(words: &str) -> Option<(&str, Lack)> {
    SIGNS.iter().find_map(|(sign, lack)| {
        let at = words.find(&format!("has {sign}")).or_else(|| words.find(&format!("have {sign}")))?;
        Some((words[..at].trim_end().rsplit(' ').next()?, *lack))
    })
}

/// The package in `keras-cv>=0.9.0,<1`.
pub(super) fn name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))).unwrap_or(text.len());
    let name = text[..end].trim_end_matches('.');
    (!name.is_empty()).then_some(name)
}

/// What the wheels are for that there are.
pub(super) fn available(words: &str, package: &str) -> Option<Vec<String>> {
    let starts = [format!("Wheels are available for `{package}`"), format!("only found wheels for `{package}`")];
    let (_, rest) = starts.iter().find_map(|start| words.split_once(start.as_str()))?;
    let (_, list) = rest.split_once(": ")?;
    let mut tags = Vec::new();
    for word in list.split(' ') {
        let tag = word.trim_end_matches(',');
        match tag.strip_prefix('`').and_then(|tag| tag.strip_suffix('`')) {
            Some(tag) => tags.push(tag.to_owned()),
            None => break,
        }
    }
    (!tags.is_empty()).then_some(tags)
}

/// Who needs the package, up to what the pipeline asks for.
pub(super) fn chain(words: &str, package: &str) -> Vec<String> {
    let mut edges: Vec<(&str, &str)> = Vec::new();
    for sign in [" depends on ", " depend on "] {
        for (at, _) in words.match_indices(sign) {
            let (before, after) = (words[..at].rsplit(' ').next(), words[at + sign.len()..].split(' ').next());
            if let (Some(by), Some(needed)) = (before.and_then(name), after.and_then(name)) {
                edges.push((by, needed));
            }
        }
    }
    let mut chain = Vec::new();
    let mut current = package;
    while let Some((by, _)) = edges.iter().find(|(_, needed)| *needed == current) {
        current = by;
        // uv's reasons may go in a circle.
        if chain.iter().any(|known| known == by) || *by == package {
            break;
        }
        chain.push((*by).to_owned());
    }
    if let Some(asked) = asked(words, current)
        && asked != package
    {
        match chain.last_mut() {
            Some(last) => *last = format!("`{asked}`"),
            None => chain.clear(),
        }
    }
    chain
}

/// The requirement of the pipeline that names a package, as uv repeats it.
pub(super) fn asked<'a>(words: &'a str, package: &str) -> Option<&'a str> {
    required(words).find(|word| name(word) == Some(package))
}

/// The requirements that uv repeats.
pub(super) fn required(words: &str) -> impl Iterator<Item = &str> {
    let asked = words.match_indices("you require ").map(|(at, sign)| &words[at + sign.len()..]);
    asked.filter_map(|rest| rest.split(' ').next()).map(|word| word.trim_end_matches([',', '.', ';']))
}
