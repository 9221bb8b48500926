//! Small files that are expensive to read, validate or compile.

/// The name of a file, its bytes, and a part of the error.
pub(crate) type Bomb = (&'static str, Vec<u8>, &'static str);

/// Files rejected when the runner reads their outline.
pub(crate) fn outlines() -> Vec<Bomb> {
    let many = |section: &[u8], n: usize| [&CORE[..], &section.repeat(n)].concat();
    let import = [&[1, b'm', 1, b'f', 0, 0][..]].concat();
    let mut imports = leb(200_000);
    imports.extend(import.repeat(200_000));
    let names: Vec<u8> = (0..2_000)
        .flat_map(|n| {
            let name = format!("m{n}");
            [&[name.len() as u8], name.as_bytes(), &[0, 0, 0]].concat()
        })
        .collect();
    let nested = (0..1_000).fold(Vec::new(), |inner, _| {
        [&COMPONENT[..], &section(4, &inner)].concat()
    });
    // An impossible length, and a count without items.
    let endless = [&CORE[..], &[1, 0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let docs = format!(r#"{{"name":"a","docs":"{}"}}"#, "x".repeat(100_000));
    let parameters = format!(
        r#"{{"name":"a","positional":[{}"x"]}}"#,
        r#""x","#.repeat(200)
    );
    let schema = format!(r#"{{"name":"a","arguments":[{}0]}}"#, "0,".repeat(200_000));
    let deep = format!(r#"{{"name":"a","arguments":{}"#, "[".repeat(1_000));
    vec![
        (
            "sections.wasm",
            many(&[0, 1, 0], 200_000),
            "100000 sections",
        ),
        (
            "imports.wasm",
            [
                &CORE[..],
                &section(1, &[1, 0x60, 0, 0]),
                &section(2, &imports),
            ]
            .concat(),
            "100000 imports",
        ),
        (
            "names.wasm",
            [&CORE[..], &section(2, &[&leb(2_000)[..], &names].concat())].concat(),
            "1000 imports",
        ),
        ("nested.wasm", nested, "components inside components"),
        ("endless.wasm", endless, "cut off"),
        ("docs.wasm", listing(&docs), "bytes of description"),
        ("parameters.wasm", listing(&parameters), "201 parameters"),
        ("schema.wasm", listing(&schema), "the limit is 131072"),
        ("deep.wasm", listing(&deep), "recursion limit"),
        (
            "name.wasm",
            listing(r#"{"name":"\u001b[31m"}"#),
            "is not a name",
        ),
    ]
}

/// An empty custom section of this size.
pub(crate) fn padding(bytes: usize) -> Vec<u8> {
    custom("padding", &vec![0; bytes])
}

/// One `br_table` with seven million targets, in a function that returns a thousand
/// values: the validator of wasmparser 0.254 records each value of each target.
pub(crate) fn br_table() -> Vec<u8> {
    const N_TARGETS: usize = 7_000_000;
    let result_types = [&[1, 0x60, 0][..], &leb(1_000), &[0x7f; 1_000]].concat();
    let mut body = vec![0, 0x00, 0x0e];
    body.extend(leb(N_TARGETS));
    body.resize(body.len() + N_TARGETS + 1, 0);
    body.push(0x0b);
    let code = [&[1][..], &leb(body.len()), &body].concat();
    let parts = [
        CORE.to_vec(),
        section(1, &result_types),
        section(3, &[1, 0]),
        section(10, &code),
        custom("component-type", &[]),
        handlers(&[r#"{"name":"work"}"#]),
    ];
    parts.concat()
}

/// A plugin with one function that takes some seconds and most of the memory to compile.
pub(crate) fn compiler() -> Vec<u8> {
    compiler_of(1, 1_500)
}

/// A plugin with functions that take minutes together, and little memory each, to compile.
pub(crate) fn slow_compiler() -> Vec<u8> {
    compiler_of(400, 650)
}

/// Functions that are slow to compile: many locals are live across many blocks, each of
/// which branches to all blocks.
fn compiler_of(n_functions: usize, n_blocks: usize) -> Vec<u8> {
    const N_LOCALS: usize = 400;
    let labels: Vec<String> = (0..n_blocks).map(|n| n.to_string()).collect();
    let jump = format!("(br_table {} (local.get 0))", labels.join(" "));
    let step = |n: usize| {
        let local = n % N_LOCALS;
        format!(
            "end (local.set {local} (i32.add (local.get {local}) (local.get {}))) {}",
            (n + 1) % N_LOCALS,
            if n.is_multiple_of(20) {
                "block block end local.get 0 br_if 0 end"
            } else {
                ""
            }
        )
    };
    let steps: Vec<String> = (0..n_blocks).map(step).collect();
    let body = format!(
        "(result i32) (local {locals}) {open} {jump} {steps} (local.get 1)",
        locals = "i32 ".repeat(N_LOCALS),
        open = "block ".repeat(n_blocks),
        steps = steps.join("\n"),
    );
    let more = format!("(func {body})\n").repeat(n_functions - 1);
    let text = format!(
        r#"(component
          (import "pgtq:plugin/log@1.0.0" (instance))
          (core module $m
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "text") {body})
            {more})
          (core instance $i (instantiate $m))
          (func $text (result string) (canon lift (core func $i "text")
            (memory (core memory $i "memory"))))
          (export "describe" (func $text))
          (export "run" (func $text)))"#,
    );
    let mut file = wat::parse_str(text).expect("it is WebAssembly text");
    file.extend(handlers(&[r#"{"name":"work"}"#]));
    file
}

const CORE: [u8; 8] = *b"\0asm\x01\0\0\0";
const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// A core module with only a list of this handler.
pub(crate) fn listing(handler: &str) -> Vec<u8> {
    let parts = [
        CORE.to_vec(),
        custom("component-type", &[]),
        handlers(&[handler]),
    ];
    parts.concat()
}

/// The section with the list of handlers.
pub(crate) fn handlers(records: &[&str]) -> Vec<u8> {
    let record = |text: &&str| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    custom(
        "pgtq.handlers",
        &records.iter().flat_map(record).collect::<Vec<u8>>(),
    )
}

fn custom(name: &str, data: &[u8]) -> Vec<u8> {
    section(0, &[&leb(name.len())[..], name.as_bytes(), data].concat())
}

fn section(id: u8, body: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(body.len()), body].concat()
}

fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}
