//! Values, types and imports in the text format of core modules.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use wit_parser::abi::WasmType;

/// A value on the core level.
#[derive(Clone)]
pub(super) enum Value {
    Number(i64),
    Local(String),
}

/// The guest's imports, each once.
#[derive(Default)]
pub(super) struct Imported {
    pub(super) text: String,
    locals: BTreeMap<(String, String), String>,
}

pub(super) fn argument(value: &Value, ty: WasmType) -> String {
    let ty = name(ty);
    match value {
        Value::Number(number) if ty == "i32" => format!("({ty}.const {})", *number as i32),
        Value::Number(number) => format!("({ty}.const {number})"),
        Value::Local(local) => format!("(local.get {local})"),
    }
}

fn name(ty: WasmType) -> &'static str {
    match ty {
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
        _ => "i32",
    }
}

impl Imported {
    /// The function's name in the guest.
    pub(super) fn local(
        &mut self,
        interface: &str,
        function: &str,
        params: &[WasmType],
        results: &[WasmType],
    ) -> String {
        let n = self.locals.len();
        let key = (interface.to_owned(), function.to_owned());
        if let Some(local) = self.locals.get(&key) {
            return local.clone();
        }
        let list = |kind: &str, types: &[WasmType]| match types {
            [] => String::new(),
            types => {
                let types: Vec<&str> = types.iter().map(|ty| name(*ty)).collect();
                format!("({kind} {})", types.join(" "))
            }
        };
        let _ = writeln!(
            self.text,
            r#"(import "{interface}" "{function}" (func $import{n} {} {}))"#,
            list("param", params),
            list("result", results),
        );
        self.locals.insert(key, format!("$import{n}"));
        format!("$import{n}")
    }
}
