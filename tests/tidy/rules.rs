//! The rules. Each takes a text or a source and returns what breaks it, one line of text for each.

use crate::source::Source;

/// The longest line, in characters: rustfmt holds code to 100, this holds comments, SQL in strings and
/// scripts to a little more.
pub const LONGEST_LINE: usize = 110;

/// Which module of `src/` may import which (DESIGN §2: imports run one way). A module may always
/// import itself.
const IMPORTS: &[(&str, &[&str])] = &[
    ("lsn", &[]),
    ("sqlstate", &[]),
    ("error", &["lsn", "sqlstate"]),
    ("backoff", &[]),
    ("threads", &[]),
    ("calendar", &[]),
    ("clock", &[]),
    ("hex", &[]),
    ("json_text", &[]),
    ("config", LEAVES),
    ("pgoutput", LEAVES),
    ("change", &["pgoutput", "config", "leaves"]),
    ("resume", &["change", "leaves"]),
    ("wire", &["config", "leaves"]),
    ("observe", &["config", "leaves"]),
    (
        "source",
        &["wire", "resume", "change", "observe", "config", "leaves"],
    ),
    (
        "destination",
        &[
            "source", "wire", "resume", "change", "observe", "config", "leaves",
        ],
    ),
    (
        "commands",
        &[
            "destination",
            "source",
            "wire",
            "resume",
            "change",
            "observe",
            "config",
            "leaves",
        ],
    ),
    (
        "pipeline",
        &[
            "destination",
            "source",
            "wire",
            "resume",
            "change",
            "pgoutput",
            "observe",
            "config",
            "leaves",
        ],
    ),
];

/// Modules that import nothing of the program. In the table, `leaves` stands for them.
const LEAVES: &[&str] = &[
    "lsn",
    "sqlstate",
    "error",
    "backoff",
    "threads",
    "calendar",
    "clock",
    "hex",
    "json_text",
];

/// The modules that join the others and may import all of them.
const JOINTS: &[&str] = &["main", "lib", "fuzzing"];

/// The modules without socket, thread, clock and log.
const PURE: &[&str] = &[
    "pgoutput",
    "change",
    "resume",
    "lsn",
    "calendar",
    "hex",
    "json_text",
];

/// Imports against the table.
pub fn imports(source: &Source) -> Vec<String> {
    let top = source.top();
    if JOINTS.contains(&top) {
        return Vec::new();
    }
    let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == top) else {
        return vec![format!(
            "module `{top}` is not in the table of imports in tests/tidy/rules.rs: add it"
        )];
    };
    let found = source.mentions.iter().filter_map(|mention| {
        let target = source.absolute(&mention.path)?.first()?.clone();
        Some((mention.line, target))
    });
    found
        .filter(|(_, target)| {
            let target = target.as_str();
            let leaf = allowed.contains(&"leaves") && LEAVES.contains(&target);
            target != top && !leaf && !allowed.contains(&target)
        })
        .map(|(line, target)| {
            format!("{line}: `{top}` may not import `{target}` (it may: {allowed:?})")
        })
        .collect()
}

/// No socket, thread, clock or log in the pure modules.
pub fn purity(source: &Source) -> Vec<String> {
    if !PURE.contains(&source.top()) {
        return Vec::new();
    }
    let found = source.mentions.iter();
    found
        .filter(|mention| is_impure(&mention.path))
        .map(|mention| {
            let (line, path) = (mention.line, mention.path.join("::"));
            format!("{line}: `{}` is a pure module: no {path}", source.top())
        })
        .collect()
}

fn is_impure(path: &[String]) -> bool {
    let is = |n: usize, names: &[&str]| path.get(n).is_some_and(|s| names.contains(&s.as_str()));
    let of_std = ["net", "thread", "fs", "os", "process", "env"];
    let crates = ["log", "crossbeam_channel", "socket2", "signal_hook"];
    (is(0, &["std"]) && is(1, &of_std))
        || (path.len() > 1 && is(0, &crates))
        || path.iter().any(|s| s == "Instant" || s == "SystemTime")
}

/// Lines that are too long; one that holds a URL may be.
pub fn line_lengths(text: &str) -> Vec<String> {
    let lines = text.lines().enumerate();
    lines
        .map(|(n, line)| (n + 1, line, line.chars().count()))
        .filter(|(_, line, length)| *length > LONGEST_LINE && !line.contains("://"))
        .map(|(n, _, length)| format!("{n}: {length} characters, at most {LONGEST_LINE}"))
        .collect()
}

/// Marks of unfinished work: what is left to do is an issue.
pub fn unfinished(text: &str) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(word) = words.find(|word| marks.contains(word)) {
            found.push(format!("{}: {word}", n + 1));
        }
    }
    found
}

/// Paths that exist on one machine only.
pub fn machine_paths(text: &str) -> Vec<String> {
    let roots = [
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
    ];
    let mut found = Vec::new();
    for (n, line) in text.lines().enumerate() {
        for root in roots {
            let inside = |c: char| c.is_alphanumeric() || "._-/}*~".contains(c);
            let mut hits = line.match_indices(root);
            if hits.any(|(at, _)| !line[..at].ends_with(inside)) {
                found.push(format!("{}: a path below {root}", n + 1));
            }
        }
    }
    found
}
