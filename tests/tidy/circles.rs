//! Circles of imports between the files of `src/`.
//!
//! An import leads to the file that defines what it names: re-exports are followed, and a re-export by
//! itself is no import, so that a `mod.rs` may pass on what its files define, and they may use each other's
//! through it. Importing a module by its name is no import either: what is used of it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::source::{Mention, Role, Source};

/// The imports between files: from which to which, and the line of the first.
pub type Graph = BTreeMap<String, BTreeMap<String, usize>>;

/// The names that the `use` of a file bring into its scope, with their paths from the root of the crate.
type Scope = BTreeMap<String, Vec<String>>;

/// The files by module path, and their scopes.
struct Files<'a> {
    sources: BTreeMap<&'a [String], &'a Source>,
    scopes: BTreeMap<&'a [String], Scope>,
}

impl<'a> Files<'a> {
    fn new(sources: &'a [Source]) -> Files<'a> {
        // The program uses the library from outside; nothing can import it.
        let sources = sources.iter().filter(|s| s.top() != "main");
        let sources: BTreeMap<&[String], &Source> = sources.map(|s| (s.location(), s)).collect();
        let scopes = BTreeMap::new();
        let mut files = Files { sources, scopes };
        files.scopes = files
            .sources
            .iter()
            .map(|(&module, &source)| (module, files.scope(source)))
            .collect();
        files
    }

    fn scope(&self, source: &Source) -> Scope {
        let imports = source.mentions.iter().filter_map(|mention| {
            let (Role::Import(name) | Role::Export(name)) = &mention.role else {
                return None;
            };
            Some((name.clone()?, self.written(source, &mention.path)?))
        });
        imports.collect()
    }

    /// The path from the root of the crate, where it is written as one or begins with a module of this
    /// file.
    fn written(&self, source: &Source, path: &[String]) -> Option<Vec<String>> {
        source.absolute(path).or_else(|| {
            let child = [source.location(), &path[..1]].concat();
            let is_child = self.sources.contains_key(child.as_slice());
            is_child.then(|| [source.location(), path].concat())
        })
    }

    /// The file that defines what this mention names; `None` where that is in another crate, in this file
    /// or a module.
    fn target(&self, source: &Source, mention: &Mention) -> Option<&'a Source> {
        let path = &mention.path;
        let written = self.written(source, path).or_else(|| {
            let begin = self.scopes.get(source.location())?.get(path.first()?)?;
            Some([begin, &path[1..]].concat())
        })?;
        let target = self.defined(&written)?;
        let glob = mention.role == Role::Import(None);
        let module = self.sources.contains_key(written.as_slice()) && !glob;
        (target.path != source.path && !module).then_some(target)
    }

    /// Follows a path from the root, through re-exports, to the file that defines it.
    fn defined(&self, path: &[String]) -> Option<&'a Source> {
        let mut path = path.to_vec();
        let mut seen = BTreeSet::new();
        loop {
            let length = (0..=path.len())
                .rev()
                .find(|&length| self.sources.contains_key(&path[..length]))?;
            let source = *self.sources.get(&path[..length])?;
            let exported = path.get(length);
            let exported = exported.and_then(|name| self.scopes.get(source.location())?.get(name));
            let Some(begin) = exported else {
                return Some(source);
            };
            path = [begin, &path[length + 1..]].concat();
            if !seen.insert(path.clone()) {
                return Some(source);
            }
        }
    }
}

/// The imports between these files.
pub fn graph(sources: &[Source]) -> Graph {
    let files = Files::new(sources);
    let mut graph = Graph::new();
    for source in files.sources.values() {
        for mention in &source.mentions {
            let target = match mention.role {
                Role::Export(_) => None,
                Role::Import(_) | Role::Code => files.target(source, mention),
            };
            if let Some(target) = target {
                let lines = graph.entry(source.path.clone()).or_default();
                lines.entry(target.path.clone()).or_insert(mention.line);
            }
        }
    }
    graph
}

/// For each import that is part of a circle, the shortest circle through it; each circle once, as
/// `a.rs:12 -> b.rs:3 -> a.rs`.
pub fn circles(graph: &Graph) -> Vec<String> {
    let mut found = BTreeSet::new();
    for (from, targets) in graph {
        for to in targets.keys() {
            if let Some(mut circle) = way(graph, to, from) {
                let first = (0..circle.len()).min_by_key(|&n| circle[n].clone());
                circle.rotate_left(first.unwrap_or(0));
                found.insert(circle);
            }
        }
    }
    found.iter().map(|circle| shown(graph, circle)).collect()
}

/// Whether this import is part of a circle.
pub fn is_in_circle(graph: &Graph, from: &str, to: &str) -> bool {
    let imports = graph.get(from).is_some_and(|t| t.contains_key(to));
    imports && way(graph, to, from).is_some()
}

/// The graph without these imports.
pub fn without(graph: &Graph, imports: &[(&str, &str)]) -> Graph {
    let mut graph = graph.clone();
    for (from, to) in imports {
        if let Some(targets) = graph.get_mut(*from) {
            targets.remove(*to);
        }
    }
    graph
}

/// The shortest way between two files, both included.
fn way(graph: &Graph, from: &str, to: &str) -> Option<Vec<String>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(file) = queue.pop_front() {
        if file == to {
            let back = std::iter::successors(Some(file), |file| {
                before.get(file).copied().filter(|_| *file != from)
            });
            let mut way: Vec<String> = back.map(str::to_owned).collect();
            way.reverse();
            return Some(way);
        }
        for next in graph.get(file).into_iter().flat_map(BTreeMap::keys) {
            if next != from && !before.contains_key(next.as_str()) {
                before.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}

fn shown(graph: &Graph, circle: &[String]) -> String {
    let mut text = String::new();
    for (n, file) in circle.iter().enumerate() {
        let next = &circle[(n + 1) % circle.len()];
        text.push_str(&format!("{file}:{} -> ", graph[file][next]));
    }
    text + &circle[0]
}
