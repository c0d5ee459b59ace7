//! A source file, parsed: the paths that it names outside its tests, and where each leads.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, UseTree, Visibility};

/// A file of `src/`, ready for the rules.
pub struct Source {
    /// Its path below `src/`.
    pub path: String,
    /// Its module path: `["wire", "frame"]` for `wire/frame.rs`; of `lib.rs` and `main.rs`, their name.
    pub module: Vec<String>,
    /// The paths that it names outside its tests.
    pub mentions: Vec<Mention>,
    /// The test modules that it declares and that are in other files.
    pub test_files: Vec<String>,
}

/// A path that a file names.
pub struct Mention {
    /// The line, from 1.
    pub line: usize,
    /// The path as it is written, from its first segment; without the `*` of a glob.
    pub path: Vec<String>,
    /// What it does.
    pub role: Role,
}

/// What a path is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A private `use`; with the name that it brings, `None` for a glob.
    Import(Option<String>),
    /// A `use` with a visibility, which passes the name on to other files; `None` for a glob.
    Export(Option<String>),
    /// A path in code.
    Code,
}

impl Source {
    /// `path` is relative to `src/`. Fails where the text is not Rust.
    pub fn new(path: &str, text: &str) -> Source {
        let file = syn::parse_file(text).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut collector = Collector::default();
        collector.visit_file(&file);
        Source {
            path: path.to_owned(),
            module: module_of(path),
            mentions: collector.mentions,
            test_files: collector.test_files,
        }
    }

    /// The folder or file of `src/` that it belongs to.
    pub fn top(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    /// Its module path in the crate: empty for `lib.rs`.
    pub fn location(&self) -> &[String] {
        match self.module.as_slice() {
            [one] if one == "lib" || one == "main" => &[],
            module => module,
        }
    }

    /// The path from the root of the crate, where it begins with `crate`, `self` or `super`.
    pub fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut base = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.location().to_vec(),
            _ => return None,
        };
        for segment in path {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => {
                    base.pop();
                }
                name => base.push(name.to_owned()),
            }
        }
        Some(base)
    }
}

fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_owned).collect()
}

/// Gathers the mentions of a file.
#[derive(Default)]
struct Collector {
    mentions: Vec<Mention>,
    test_files: Vec<String>,
    /// How many modules within the file are open: their `self` and `super` are written relative to the file.
    inline: usize,
}

impl Collector {
    fn note(&mut self, at: Span, mut path: Vec<String>, role: Role) {
        let line = at.start().line;
        // `super` in a module within the file leads to the file itself.
        for _ in 0..self.inline {
            if path.first().is_some_and(|first| first == "super") {
                path.remove(0);
                if path.first().is_none_or(|first| first != "super") {
                    path.insert(0, "self".to_owned());
                }
            }
        }
        self.mentions.push(Mention { line, path, role });
    }

    /// The leaves of a `use`.
    fn tree(&mut self, tree: &UseTree, prefix: &[String], public: bool) {
        let role = |name| match public {
            true => Role::Export(name),
            false => Role::Import(name),
        };
        let with = |name: &dyn Display| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident), public),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, prefix, public);
                }
            }
            UseTree::Glob(glob) => self.note(glob.star_token.spans[0], prefix.to_vec(), role(None)),
            UseTree::Name(name) if name.ident == "self" && !prefix.is_empty() => {
                self.note(
                    name.ident.span(),
                    prefix.to_vec(),
                    role(prefix.last().cloned()),
                );
            }
            UseTree::Name(name) => {
                let path = with(&name.ident);
                self.note(name.ident.span(), path, role(Some(name.ident.to_string())));
            }
            UseTree::Rename(rename) => {
                let path = match rename.ident == "self" && !prefix.is_empty() {
                    true => prefix.to_vec(),
                    false => with(&rename.ident),
                };
                self.note(
                    rename.ident.span(),
                    path,
                    role(Some(rename.rename.to_string())),
                );
            }
        }
    }

    /// The paths in the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut at, mut colons) = (Span::call_site(), 0);
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => {
                    colons += 1
                }
                TokenTree::Ident(ident) if colons == 2 => {
                    path.push(ident.to_string());
                    colons = 0;
                }
                other => {
                    self.macro_path(at, &mut path);
                    colons = 0;
                    match other {
                        TokenTree::Ident(ident) => {
                            at = ident.span();
                            path.push(ident.to_string());
                        }
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        _ => {}
                    }
                }
            }
        }
        self.macro_path(at, &mut path);
    }

    fn macro_path(&mut self, at: Span, path: &mut Vec<String>) {
        if !path.is_empty() {
            self.note(at, std::mem::take(path), Role::Code);
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_test(attributes(item)) {
            if let Item::Mod(module) = item
                && module.content.is_none()
            {
                self.test_files.push(module.ident.to_string());
            }
            return;
        }
        match item {
            Item::Use(item) => {
                let public = !matches!(item.vis, Visibility::Inherited);
                self.tree(&item.tree, &[], public);
            }
            Item::Mod(module) if module.content.is_some() => {
                self.inline += 1;
                visit::visit_item(self, item);
                self.inline -= 1;
            }
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Fn(item) => item.attrs.as_slice(),
            ImplItem::Const(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            let segments = path.segments.iter().map(|s| s.ident.to_string());
            self.note(first.ident.span(), segments.collect(), Role::Code);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.visit_path(&mac.path);
        self.tokens(mac.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether one of them is `#[cfg(test)]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let cfg = attribute.path().is_ident("cfg");
        cfg && attribute
            .parse_args::<syn::Path>()
            .is_ok_and(|condition| condition.is_ident("test"))
    })
}
