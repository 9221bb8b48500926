//! A guest that calls imports repeatedly with expensive arguments.

use std::fmt::Write as _;

use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{Handle, Resolve, SizeAlign, Type, TypeDefKind, TypeId};

use super::core_text::{Imported, Value, argument};
use super::shape::{ANSWER, DRY, Place, Shape};
use super::world::{Import, World};
use crate::tests::guests::{Parts, finished, text, wrap};

/// The code that calls one import, while it is being built.
struct Calls<'a> {
    resolve: &'a Resolve,
    sizes: &'a SizeAlign,
    shape: Shape,
    imported: &'a mut Imported,
    /// Before each call: makes handles and lists.
    before: String,
    locals: String,
    handles: usize,
    /// Bytes of text that one call passes.
    bytes: i64,
}

/// A guest that calls the import whose number it gets as an argument.
pub(super) struct Guest {
    pub(super) file: Vec<u8>,
    /// How many bytes of text and lists each call passes, by import.
    pub(super) bytes: Vec<u64>,
}

/// Builds the guest. Only one import can be called elsewhere than in `run`.
pub(super) fn guest(world: &World, imports: &[&Import<'_>], shape: Shape) -> Guest {
    assert!(shape.place == Place::Run || imports.len() == 1);
    let mut sizes = SizeAlign::default();
    sizes.fill(&world.resolve);
    let mut imported = Imported::default();
    let (mut functions, mut choices, mut bytes) = (String::new(), String::new(), Vec::new());
    for (n, import) in imports.iter().enumerate() {
        let calls = Calls {
            resolve: &world.resolve,
            sizes: &sizes,
            shape,
            imported: &mut imported,
            before: String::new(),
            locals: String::new(),
            handles: 0,
            bytes: 0,
        };
        let (function, handed_over) = calls.function(n, import);
        functions += &function;
        bytes.push(u64::try_from(handed_over).expect("not negative"));
        let _ = writeln!(
            choices,
            "(if (i32.eq (local.get $which) (i32.const {n})) (then (call $calls{n})))"
        );
    }
    let code = code(shape, &functions, &choices);
    let parts = Parts {
        memory: if shape.small { "30" } else { "400" },
        ..Parts::default()
    };
    let text = text(&code, &parts).replace(
        "(memory (export",
        &format!("{}(memory (export", imported.text),
    );
    let module = finished(&text, &parts, &world.resolve, world.world);
    Guest {
        file: wrap(&module),
        bytes,
    }
}

/// The guest without its imports; `choices` calls one of the `functions` by its number.
fn code(shape: Shape, functions: &str, choices: &str) -> String {
    format!(
        r#"
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const {room}))
        (func $fill (param $at i32) (param $bytes i32) (param $low i32) (param $high i32)
          (local $end i32)
          (local.set $end (i32.add (local.get $at) (local.get $bytes)))
          (loop $more
            (i32.store (local.get $at) (local.get $low))
            (i32.store offset=4 (local.get $at) (local.get $high))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))
            (br_if $more (i32.lt_u (local.get $at) (local.get $end)))))
        (global $dry (mut i32) (i32.const 0))
        {functions}
        (func $run (param i32 i32) (param $args i32) (param $length i32) (result i32)
          (local $which i32)
          (loop $digits
            (local.set $which (i32.add
              (i32.mul (local.get $which) (i32.const 10))
              (i32.sub (i32.load8_u (local.get $args)) (i32.const 48))))
            (local.set $args (i32.add (local.get $args) (i32.const 1)))
            (local.set $length (i32.sub (local.get $length) (i32.const 1)))
            (br_if $digits (local.get $length)))
          (if (i32.ge_u (local.get $which) (i32.const {DRY})) (then
            (global.set $dry (i32.const 1))
            (local.set $which (i32.sub (local.get $which) (i32.const {DRY})))))
          {choices}
          (i32.store16 (i32.const 16384) (i32.const 0x3131))
          (call $ok (i32.const 16384) (i32.const 2)))
        {elsewhere}"#,
        room = shape.room(),
        choices = if shape.place == Place::Run {
            choices
        } else {
            ""
        },
        elsewhere = match shape.place {
            Place::Run => String::new(),
            Place::Start => "(start $calls0)".to_owned(),
            Place::Describe => format!(
                r#"(func (export "describe") (result i32)
                  (call $calls0)
                  (i32.store (i32.const 512) (i32.const 1024))
                  (i32.store (i32.const 516) (i32.const {}))
                  (i32.const 512))"#,
                Parts::default().manifest.len()
            ),
        },
    )
}

impl Calls<'_> {
    /// The function that calls one import repeatedly, and its bytes per call.
    fn function(mut self, n: usize, import: &Import<'_>) -> (String, i64) {
        let shape = self.shape;
        let variant = AbiVariant::GuestImport;
        let signature = self.resolve.wasm_signature(variant, import.function);
        let mut values = Vec::new();
        if signature.indirect_params {
            values.push(Value::Number(shape.items_at()));
        } else {
            for param in &import.function.params {
                self.flatten(&param.ty, &mut values);
            }
        }
        if signature.retptr {
            values.push(Value::Number(ANSWER));
        }
        let callee = self.imported.local(
            &import.interface,
            &import.function.name,
            &signature.params,
            &signature.results,
        );
        let arguments = values.iter().zip(&signature.params);
        let arguments: Vec<String> = arguments.map(|(value, ty)| argument(value, *ty)).collect();
        let text = format!(
            r#"
            (func $calls{n}
              (local $n i32) {locals}
              (memory.fill (i32.const {text_at}) (i32.const 97) (i32.const {text_bytes}))
              (loop $again
                {before}
                (if (i32.eqz (global.get $dry)) (then {drop}(call {callee} {arguments}){end}))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const {calls})))))"#,
            locals = self.locals,
            text_at = shape.text_at(),
            text_bytes = shape.longest() + 8_192,
            before = self.before,
            drop = "(drop ".repeat(signature.results.len()),
            arguments = arguments.join(" "),
            end = ")".repeat(signature.results.len()),
            calls = shape.calls,
        );
        (text, self.bytes)
    }

    fn flatten(&mut self, ty: &Type, values: &mut Vec<Value>) {
        match ty {
            Type::String => {
                self.bytes += self.shape.text();
                values.extend([
                    Value::Number(self.shape.text_at()),
                    Value::Number(self.shape.text()),
                ]);
            }
            Type::Bool => values.push(Value::Number(1)),
            Type::U8 | Type::S8 => values.push(Value::Number(97)),
            Type::U16 | Type::S16 => values.push(Value::Number(9_999)),
            Type::Char => values.push(Value::Number(97)),
            Type::F32 | Type::F64 => values.push(Value::Number(1)),
            Type::U32 | Type::S32 | Type::U64 | Type::S64 => {
                values.push(Value::Number(self.shape.number()));
            }
            Type::ErrorContext => values.push(Value::Number(0)),
            Type::Id(id) => self.flatten_type(*id, values),
        }
    }

    fn flatten_type(&mut self, id: TypeId, values: &mut Vec<Value>) {
        let resolve = self.resolve;
        match &resolve.types[id].kind {
            TypeDefKind::Type(ty) => self.flatten(ty, values),
            TypeDefKind::Record(record) => {
                for field in &record.fields {
                    self.flatten(&field.ty, values);
                }
            }
            TypeDefKind::Tuple(tuple) => {
                for ty in &tuple.types {
                    self.flatten(ty, values);
                }
            }
            TypeDefKind::Flags(_) | TypeDefKind::Enum(_) => values.push(Value::Number(1)),
            TypeDefKind::List(item) => self.list(item, values),
            TypeDefKind::Option(ty) => {
                values.push(Value::Number(1));
                self.flatten(ty, values);
            }
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter().map(|case| case.ty);
                self.largest(cases.collect(), values);
            }
            TypeDefKind::Result(result) => self.largest(vec![result.ok, result.err], values),
            TypeDefKind::Handle(Handle::Own(resource) | Handle::Borrow(resource)) => {
                let handle = self.handle(*resource);
                values.push(handle);
            }
            _ => values.push(Value::Number(0)),
        }
    }

    /// The case of a variant with most core values; the others are padded.
    fn largest(&mut self, cases: Vec<Option<Type>>, values: &mut Vec<Value>) {
        let mut best = (0, Vec::new());
        let mut most = 0;
        for (n, case) in cases.into_iter().enumerate() {
            let mut flat = Vec::new();
            if let Some(ty) = case {
                self.flatten(&ty, &mut flat);
            }
            most = most.max(flat.len());
            if flat.len() >= best.1.len() {
                best = (n, flat);
            }
        }
        values.push(Value::Number(i64::try_from(best.0).expect("few cases")));
        best.1.resize(most, Value::Number(0));
        values.append(&mut best.1);
    }

    fn list(&mut self, item: &Type, values: &mut Vec<Value>) {
        if matches!(item, Type::U8) {
            self.bytes += self.shape.text();
            values.extend([
                Value::Number(self.shape.text_at()),
                Value::Number(self.shape.text()),
            ]);
            return;
        }
        let bytes = i64::try_from(self.sizes.size(item).size_wasm32()).expect("small");
        let count = self.shape.items(bytes);
        let pattern = match self.handle_in(item) {
            Some(resource) => {
                let handle = argument(&self.handle(resource), WasmType::I32);
                format!("{handle} {handle}")
            }
            None => format!(
                "(i32.const {}) (i32.const {})",
                self.shape.text_at(),
                self.shape.item_text()
            ),
        };
        let _ = writeln!(
            self.before,
            "(call $fill (i32.const {}) (i32.const {}) {pattern})",
            self.shape.items_at(),
            count * bytes
        );
        values.extend([Value::Number(self.shape.items_at()), Value::Number(count)]);
    }

    fn handle_in(&self, ty: &Type) -> Option<TypeId> {
        let Type::Id(id) = ty else { return None };
        match &self.resolve.types[*id].kind {
            TypeDefKind::Handle(Handle::Own(id) | Handle::Borrow(id)) => Some(*id),
            TypeDefKind::Type(ty) => self.handle_in(ty),
            _ => None,
        }
    }

    /// A new handle, for the resources that a guest can make without any grant; no handle
    /// for others.
    fn handle(&mut self, resource: TypeId) -> Value {
        let mut id = resource;
        while let TypeDefKind::Type(Type::Id(next)) = &self.resolve.types[id].kind {
            id = *next;
        }
        let name = self.resolve.types[id].name.clone().expect("a name");
        let n = self.handles;
        self.handles += 1;
        let (interface, function, takes) = match name.as_str() {
            "pollable" => (
                "wasi:clocks/monotonic-clock@0.2.12",
                "subscribe-duration",
                "i64",
            ),
            "output-stream" => ("wasi:cli/stdout@0.2.12", "get-stdout", ""),
            "input-stream" => ("wasi:cli/stdin@0.2.12", "get-stdin", ""),
            "fields" => ("wasi:http/types@0.2.12", "[constructor]fields", ""),
            "outgoing-request" => (
                "wasi:http/types@0.2.12",
                "[constructor]outgoing-request",
                "fields",
            ),
            "request-options" => ("wasi:http/types@0.2.12", "[constructor]request-options", ""),
            "network" => (
                "wasi:sockets/instance-network@0.2.12",
                "instance-network",
                "",
            ),
            _ => return Value::Number(0),
        };
        let (params, argument): (&[WasmType], String) = match takes {
            "i64" => (&[WasmType::I64], "(i64.const 0)".to_owned()),
            "" => (&[], String::new()),
            _ => {
                let fields = self.resolve.types.iter();
                let mut fields = fields.filter(|(_, ty)| {
                    ty.name.as_deref() == Some("fields") && matches!(ty.kind, TypeDefKind::Resource)
                });
                let fields = fields.next().expect("wasi:http has fields").0;
                let made = self.handle(fields);
                (&[WasmType::I32], argument(&made, WasmType::I32))
            }
        };
        let make = self
            .imported
            .local(interface, function, params, &[WasmType::I32]);
        let _ = write!(self.locals, "(local $handle{n} i32)");
        let _ = writeln!(
            self.before,
            "(local.set $handle{n} (call {make} {argument}))"
        );
        Value::Local(format!("$handle{n}"))
    }
}
