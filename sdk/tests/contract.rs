//! The committed bindings match the WIT file.

use wit_component::WitPrinter;

/// The component type embedded in the bindings, read from their source: the
/// section is compiled for wasm32 only.
fn embedded_type() -> Vec<u8> {
    let source = include_str!("../src/bindings.rs");
    let file = syn::parse_file(source).expect("the bindings are Rust");
    let bytes = file.items.iter().find_map(|item| match item {
        syn::Item::Static(item) if item.ident == "__WIT_BINDGEN_COMPONENT_TYPE" => {
            match item.expr.as_ref() {
                syn::Expr::Unary(dereference) => match dereference.expr.as_ref() {
                    syn::Expr::Lit(literal) => match &literal.lit {
                        syn::Lit::ByteStr(bytes) => Some(bytes.value()),
                        _ => None,
                    },
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    });
    bytes.expect("the bindings embed their component type")
}

/// The lines without comments and blank lines, which are not part of the type.
fn bare(wit: &str) -> Vec<String> {
    let lines = wit.lines().map(|line| line.trim().to_owned());
    let mut lines: Vec<String> = lines
        .filter(|line| !line.is_empty() && !line.starts_with("///"))
        .collect();
    lines.sort_unstable();
    lines
}

fn print(resolve: &wit_parser::Resolve, package: wit_parser::PackageId) -> String {
    let mut printer = WitPrinter::default();
    printer
        .print(resolve, package, &[])
        .expect("a resolved package prints");
    printer.output.to_string()
}

#[test]
fn the_committed_bindings_match_the_contract() {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve
        .push_str("pgtq.wit", pgtq_contract::WIT)
        .expect("the contract is WIT");
    let written = print(&resolve, package);

    let embedded = match wit_component::decode(&embedded_type()) {
        Ok(wit_component::DecodedWasm::WitPackage(resolve, package)) => print(&resolve, package),
        _ => panic!("the section holds a WIT package"),
    };
    assert_eq!(
        bare(&embedded),
        bare(&written),
        "regenerate src/bindings.rs: its first lines say how"
    );
}

#[test]
fn the_sdk_implements_the_version_of_the_contract() {
    let package = format!("package pgtq:plugin@{};", pgtq_sdk::CONTRACT);
    assert!(pgtq_contract::WIT.contains(&package));
}
