//! The modules of a crate and what each file imports, read from the source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use pgtq_tests::repository;
use syn::visit::{self, Visit};

/// A module's path below the crate's root.
type Module = Vec<String>;

/// One file uses an item of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrow {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) item: String,
}

/// The files of a crate, without tests.
pub(super) struct Tree(BTreeMap<Module, File>);

struct File {
    path: String,
    /// Names that the file imports, with the path that each stands for.
    imports: BTreeMap<String, Vec<String>>,
    /// All paths that begin with a module of the crate.
    paths: BTreeSet<Vec<String>>,
}

impl Tree {
    /// Reads a crate's folder.
    pub(super) fn read(folder: &str) -> Tree {
        let mut texts = Vec::new();
        collect(&repository().join(folder), &mut texts);
        assert!(!texts.is_empty(), "no files in {folder}");
        let texts: Vec<(&str, &str)> = texts.iter().map(|(p, t)| (&**p, &**t)).collect();
        Tree::of(&texts)
    }

    /// The tree of these files; the first folder of a path is the crate's.
    pub(super) fn of(files: &[(&str, &str)]) -> Tree {
        let roots = files.iter().filter(|(path, _)| {
            path.ends_with("/lib.rs") || path.ends_with("/main.rs") || path.ends_with("/program.rs")
        });
        let root = roots
            .map(|(path, _)| path.len() - path.rsplit('/').next().unwrap_or("").len())
            .min();
        let root = root.expect("a crate has a root file");
        let mut tree = BTreeMap::new();
        for (path, text) in files {
            // Generated: it imports nothing of the crate.
            let text = if path.ends_with("/bindings.rs") {
                ""
            } else {
                *text
            };
            let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
            // The root of a crate offers names of its files: that uses none of them.
            let is_root =
                path[root..].matches('/').count() == 0 && module(&path[root..]).is_empty();
            let mut reader = Reader {
                is_root,
                ..Reader::default()
            };
            reader.visit_file(&parsed);
            let file = File {
                path: (*path).to_owned(),
                imports: reader.imports,
                paths: reader.paths,
            };
            tree.insert(module(&path[root..]), file);
        }
        Tree(tree)
    }

    /// Which file uses which.
    pub(super) fn arrows(&self) -> BTreeSet<Arrow> {
        let mut arrows = BTreeSet::new();
        for (module, file) in &self.0 {
            for path in &file.paths {
                let Some((to, item)) = self.target(module, path, 0) else {
                    continue;
                };
                let to = self.0[&to].path.clone();
                if to != file.path {
                    arrows.insert(Arrow {
                        from: file.path.clone(),
                        to,
                        item,
                    });
                }
            }
        }
        arrows
    }

    /// Imports of an item through a parent module that only imports it itself.
    pub(super) fn detours(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (module, file) in &self.0 {
            for path in &file.paths {
                let Some((named, rest)) = self.walk(module, path) else {
                    continue;
                };
                let is_parent = module.starts_with(&named) && *module != named;
                let imported = rest
                    .first()
                    .is_some_and(|item| self.0[&named].imports.contains_key(item));
                let target = self.target(module, path, 0);
                if let (true, true, Some((to, _))) = (is_parent, imported, target)
                    && to != named
                    && to != *module
                {
                    found.push(format!(
                        "{}: {} is defined in {}",
                        file.path,
                        path.join("::"),
                        self.0[&to].path
                    ));
                }
            }
        }
        found
    }

    /// The module that a path of `module` leads to, and the segments behind it.
    fn walk(&self, module: &Module, path: &[String]) -> Option<(Module, Vec<String>)> {
        let mut at = module.clone();
        let mut rest = path.iter();
        let mut rest_start = 0;
        for (n, segment) in rest.by_ref().enumerate() {
            match segment.as_str() {
                "crate" if n == 0 => at.clear(),
                "self" if n == 0 => {}
                "super" => {
                    at.pop()?;
                }
                name => {
                    let mut child = at.clone();
                    child.push(name.to_owned());
                    if self.0.contains_key(&child) {
                        at = child;
                    } else if n == 0 {
                        // Another crate, or a name of this file.
                        return None;
                    } else {
                        break;
                    }
                }
            }
            rest_start = n + 1;
        }
        Some((at, path[rest_start..].to_vec()))
    }

    /// The module that defines what a path names, and the item.
    fn target(&self, module: &Module, path: &[String], depth: usize) -> Option<(Module, String)> {
        let (at, rest) = self.walk(module, path)?;
        let Some(item) = rest.first() else {
            return Some((at, path.last()?.clone()));
        };
        let file = self.0.get(&at)?;
        match file.imports.get(item) {
            Some(import) if depth < 8 && !(at == *module && import == path) => {
                self.target(&at, import, depth + 1)
            }
            _ => Some((at, item.clone())),
        }
    }
}

/// The module of a file below the crate's folder.
fn module(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    if matches!(
        module.last().map(String::as_str),
        Some("mod" | "lib" | "main")
    ) {
        module.pop();
    }
    module
}

fn collect(folder: &Path, texts: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            collect(&path, texts);
        } else if name.ends_with(".rs") && !["tests.rs", "testdb.rs"].contains(&&*name) {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let path = path
                .strip_prefix(repository())
                .expect("below the repository");
            texts.push((path.to_string_lossy().into_owned(), text));
        }
    }
}

#[derive(Default)]
struct Reader {
    imports: BTreeMap<String, Vec<String>>,
    paths: BTreeSet<Vec<String>>,
    /// How many inline modules surround the item.
    depth: usize,
    /// Whether the file is the root of its crate.
    is_root: bool,
    /// Whether the item is a `pub use` of the root.
    is_export: bool,
}

impl Reader {
    fn tree(&mut self, tree: &syn::UseTree, mut path: Vec<String>) {
        match tree {
            syn::UseTree::Path(step) => {
                path.push(step.ident.to_string());
                self.tree(&step.tree, path);
            }
            syn::UseTree::Name(name) => {
                let name = name.ident.to_string();
                let alias = if name == "self" {
                    path.last().cloned()
                } else {
                    Some(name.clone())
                };
                if name != "self" {
                    path.push(name);
                }
                self.import(alias.unwrap_or_default(), path);
            }
            syn::UseTree::Rename(rename) => {
                path.push(rename.ident.to_string());
                self.import(rename.rename.to_string(), path);
            }
            syn::UseTree::Glob(_) => {
                self.paths.insert(path);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, path.clone());
                }
            }
        }
    }

    fn import(&mut self, name: String, path: Vec<String>) {
        if self.depth == 0 {
            self.imports.insert(name, path.clone());
        }
        if !self.is_export {
            self.paths.insert(path);
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Path>()
                    .is_ok_and(|path| path.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.is_export = self.is_root && !matches!(item.vis, syn::Visibility::Inherited);
            self.tree(&item.tree, Vec::new());
            self.is_export = false;
        }
    }

    // `pub(in crate::plugin)` imports nothing.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            self.depth += 1;
            visit::visit_item_mod(self, item);
            self.depth -= 1;
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_test(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if segments.len() > 1 && self.depth == 0 {
            self.paths.insert(segments);
        }
        visit::visit_path(self, path);
    }

    // Paths inside a macro's arguments are tokens: those that name modules are read.
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let mut path: Vec<String> = Vec::new();
        let mut tokens = Vec::new();
        let (mut is_after_colons, mut is_after_dollar) = (false, false);
        flatten(item.tokens.clone(), &mut tokens);
        for token in tokens.into_iter().chain([String::new()]) {
            // `$crate` names the crate for users of a macro.
            let is_word =
                !is_after_dollar && token.starts_with(|c: char| c.is_alphabetic() || c == '_');
            if is_word && (path.is_empty() || is_after_colons) {
                path.push(token.clone());
            } else if token != ":" {
                let starts = path.first().map(String::as_str);
                if matches!(starts, Some("crate" | "super" | "self")) && path.len() > 1 {
                    self.paths.insert(path.clone());
                }
                path.clear();
                path.extend(is_word.then(|| token.clone()));
            }
            is_after_colons = token == ":";
            is_after_dollar = token == "$";
        }
        visit::visit_macro(self, item);
    }
}

fn flatten(stream: proc_macro2::TokenStream, into: &mut Vec<String>) {
    for token in stream {
        match token {
            proc_macro2::TokenTree::Group(group) => {
                into.push("(".to_owned());
                flatten(group.stream(), into);
                into.push(")".to_owned());
            }
            token => into.push(token.to_string()),
        }
    }
}
