//! Arrows between the files of a crate: an import names the file that defines the item, and
//! files do not import each other in circles.

mod graph;
mod tree;

use std::collections::BTreeSet;

use tree::Tree;

const CRATES: &[&str] = &[
    "runner/task/src",
    "runner/store/src",
    "runner/sandbox/src",
    "runner/setup/src",
    "runner/engine/src",
    "runner/cli/src",
    "sdk/src",
    "sdk/macros/src",
    "sdk/contract/src",
];

/// Circles that are left, each by its first file. ARCHITECTURE.md says why.
const CIRCLES: &[&str] = &[];

#[test]
fn files_do_not_import_each_other_in_circles() {
    let mut found = Vec::new();
    for folder in CRATES {
        let tree = Tree::read(folder);
        for circle in graph::circles(&tree.arrows()) {
            if !CIRCLES.contains(&circle[0].as_str()) {
                found.push(describe(&circle, &tree.arrows()));
            }
        }
    }
    assert!(found.is_empty(), "circles of files:\n{}", found.join("\n"));
}

/// A circle with the imports that close it.
fn describe(circle: &[String], arrows: &BTreeSet<tree::Arrow>) -> String {
    let inside = |arrow: &&tree::Arrow| circle.contains(&arrow.from) && circle.contains(&arrow.to);
    let mut text = format!("{} files, {}:", circle.len(), circle[0]);
    for arrow in arrows.iter().filter(inside) {
        text += &format!("\n  {} -> {}: {}", arrow.from, arrow.to, arrow.item);
    }
    text
}

#[test]
fn an_import_names_the_file_that_defines_the_item() {
    let mut found = Vec::new();
    for folder in CRATES {
        found.extend(Tree::read(folder).detours());
    }
    assert!(
        found.is_empty(),
        "imports through a parent:\n  {}",
        found.join("\n  ")
    );
}

#[test]
fn a_circle_and_an_import_through_a_parent_are_found() {
    let tree = Tree::of(&[
        ("x/lib.rs", "mod a; mod b; mod c; use b::B; pub use c::C;"),
        ("x/a.rs", "use super::b::B; fn a() { crate::c::c() }"),
        ("x/b.rs", "pub struct B; fn b() { super::a::a() }"),
        (
            "x/c.rs",
            "use crate::B; pub fn c() {} pub struct C; #[cfg(test)] mod tests { use crate::a::A; }",
        ),
    ]);
    assert_eq!(
        graph::circles(&tree.arrows()),
        [["x/a.rs", "x/b.rs", "x/c.rs"]]
    );
    assert_eq!(tree.detours(), ["x/c.rs: crate::B is defined in x/b.rs"]);
}
