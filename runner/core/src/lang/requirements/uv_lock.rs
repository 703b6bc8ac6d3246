//! What a project's `uv.lock` asks for: all that its own dependencies come to, each in the locked version.
//!
//! Such a file holds one resolution for every system and Python. Packages are nodes; what one needs are edges with markers; a package may be
//! there in several versions, and then an edge names one:
//!
//! ```text
//! shop ──────────────────────────────────► click 8.5 ── sys_platform == 'win32' ──► colorama 0.4
//!   └── python_full_version < '3.11' ──► numpy 2.2        ...and >= '3.11' ──► numpy 2.4
//! ```
//! A package is wanted where all markers on one of the ways to it hold, so it has one line for each way that no other makes superfluous:
//! `colorama==0.4.6 ; sys_platform == 'win32'`. Whoever resolves them drops those that do not hold on its platform.
//!
//! The project itself is not taken, nor what only its extras and groups ask for. Addresses and hashes are not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use crate::stored::lock::{is_name, is_version};

/// The format of uv that is read. A later revision of it only adds keys.
const FORMAT: u32 = 1;
/// Ways to one package that are not superfluous. Real files have three or four; without a limit a hostile one has exponentially many.
const MOST_WAYS: usize = 64;
/// Steps on all of them: a hundred times what the largest real files take, and a few seconds.
const MOST_STEPS: usize = 500_000;
/// The way out where a package cannot be taken over.
const REMEDY: &str =
    "`uv export` writes a requirements.txt, of which you can leave out what is not a package of an index";

/// The requirements, sorted.
///
/// # Errors
/// When it is none, or not whole, or needs something that is no package of an index.
pub(super) fn requirements(text: &str) -> Result<Vec<String>, String> {
    let unread = |error: toml::de::Error| format!("cannot be read: {}", error.message());
    let Format { version } = toml::from_str(text).map_err(unread)?;
    if version != FORMAT {
        return Err(format!("is of uv's format {version}, and this flowrun reads {FORMAT}"));
    }
    let file: File = toml::from_str(text).map_err(unread)?;
    let root = file.package.iter().position(|package| package.source.is_root());
    let root = root.ok_or_else(|| format!("has no project in its own folder: {REMEDY}"))?;
    let mut walk = Walk::new(&file.package, root);
    walk.all()?;
    Ok(walk.lines().collect())
}

#[derive(Deserialize)]
struct Format {
    version: u32,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    version: Option<String>,
    source: Source,
    #[serde(default)]
    dependencies: Vec<Edge>,
    #[serde(default)]
    optional_dependencies: BTreeMap<String, Vec<Edge>>,
}

/// Where a package comes from: one kind, and its place.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(transparent)]
struct Source(BTreeMap<String, toml::Value>);

impl Source {
    fn is_of_index(&self) -> bool {
        self.0.contains_key("registry")
    }

    /// The project that the file lies in.
    fn is_root(&self) -> bool {
        ["virtual", "editable", "directory"]
            .iter()
            .any(|kind| self.0.get(*kind).is_some_and(|at| at.as_str() == Some(".")))
    }

    /// For people. Without the place, which may hold a secret.
    fn kind(&self) -> &'static str {
        let kinds = [("git", "from git"), ("url", "from an address"), ("path", "a file"), ("virtual", "a folder")];
        let found = kinds.into_iter().find(|(kind, _)| self.0.contains_key(*kind));
        found.map_or("a project of its own", |(_, told)| told)
    }
}

#[derive(Deserialize)]
struct Edge {
    name: String,
    version: Option<String>,
    source: Option<Source>,
    #[serde(default)]
    extra: Vec<String>,
    marker: Option<String>,
}

/// A package, or what one of its extras adds to it.
type Node<'a> = (usize, Option<&'a str>);
/// The markers that must hold along a way.
type Way<'a> = BTreeSet<&'a str>;

struct Walk<'a> {
    packages: &'a [Package],
    by_name: HashMap<&'a str, Vec<usize>>,
    root: usize,
    ways: BTreeMap<Node<'a>, Vec<Way<'a>>>,
    /// Ways that were not followed further yet.
    open: Vec<(Node<'a>, Way<'a>)>,
}

impl<'a> Walk<'a> {
    fn new(packages: &'a [Package], root: usize) -> Self {
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        for (index, package) in packages.iter().enumerate() {
            by_name.entry(&package.name).or_default().push(index);
        }
        let start = ((root, None), Way::new());
        Self { packages, by_name, root, ways: BTreeMap::new(), open: vec![start] }
    }

    fn all(&mut self) -> Result<(), String> {
        let mut steps = 0;
        while let Some(((index, extra), way)) = self.open.pop() {
            let package = &self.packages[index];
            let edges = match extra {
                None => Some(&package.dependencies),
                // A package without such an extra has nothing to add, as for pip.
                Some(extra) => package.optional_dependencies.get(extra),
            };
            for edge in edges.into_iter().flatten() {
                steps += 1;
                if steps > MOST_STEPS {
                    return Err(too_much());
                }
                self.follow(package, edge, &way)?;
            }
        }
        Ok(())
    }

    fn follow(&mut self, from: &Package, edge: &'a Edge, way: &Way<'a>) -> Result<(), String> {
        let index = self.find(from, edge)?;
        let package = &self.packages[index];
        if !package.source.is_of_index() && index != self.root {
            let kind = package.source.kind();
            return Err(format!(
                "has `{}`, which is {kind} and no package of an index: {REMEDY}",
                shown(&package.name)
            ));
        }
        if !is_name(&package.name) || !package.version.as_deref().is_some_and(is_version) && index != self.root {
            return Err(format!("is damaged: `{}` has no name and version of a package", shown(&package.name)));
        }
        let mut way = way.clone();
        way.extend(edge.marker.as_deref());
        self.reach((index, None), &way)?;
        edge.extra.iter().try_for_each(|extra| self.reach((index, Some(extra)), &way))
    }

    fn find(&self, from: &Package, edge: &Edge) -> Result<usize, String> {
        let fits = |index: &&usize| {
            let package = &self.packages[**index];
            edge.version.as_ref().is_none_or(|version| package.version.as_ref() == Some(version))
                && edge.source.as_ref().is_none_or(|source| package.source == *source)
        };
        let mut found = self.by_name.get(edge.name.as_str()).into_iter().flatten().filter(fits);
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(*only),
            (first, _) => {
                let many = if first.is_some() { "more than one" } else { "no" };
                Err(format!("is damaged: it has {many} `{}` for `{}`", shown(&edge.name), shown(&from.name)))
            }
        }
    }

    /// Notes a way to a package, unless a wider one is known, and forgets narrower ones.
    fn reach(&mut self, node: Node<'a>, way: &Way<'a>) -> Result<(), String> {
        let known = self.ways.entry(node).or_default();
        if known.iter().any(|known| known.is_subset(way)) {
            return Ok(());
        }
        known.retain(|known| !way.is_subset(known));
        if known.len() == MOST_WAYS {
            return Err(too_much());
        }
        known.push(way.clone());
        self.open.push((node, way.clone()));
        Ok(())
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let packages = self.ways.iter().filter(|((index, extra), _)| extra.is_none() && *index != self.root);
        let lines = packages.flat_map(|((index, _), ways)| ways.iter().map(|way| line(&self.packages[*index], way)));
        lines.collect::<BTreeSet<_>>().into_iter()
    }
}

fn line(package: &Package, way: &Way<'_>) -> String {
    let pinned = format!("{}=={}", package.name, package.version.as_deref().unwrap_or_default());
    match way.iter().copied().collect::<Vec<_>>().as_slice() {
        [] => pinned,
        [only] => format!("{pinned} ; {only}"),
        many => format!("{pinned} ; ({})", many.join(") and (")),
    }
}

fn too_much() -> String {
    format!("has too many markers to be followed: {REMEDY}")
}

fn shown(name: &str) -> String {
    name.chars().take(80).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;
