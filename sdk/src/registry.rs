//! The handlers of this plugin: lookup by name, and the manifest.
//!
//! Each `#[handler]` submits one static [`Entry`]. Nothing is built at startup,
//! because every attempt starts a new instance; only `describe` builds schemas.
//! The format of the manifest is the runner's `task::Manifest`.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::args::Argument;
use crate::error::{Error, Result};

/// One handler as the attribute registers it.
#[derive(Debug)]
pub struct Entry {
    /// The name in tasks.
    pub name: &'static str,
    /// The `HandlerInfo` as a JSON object, without `arguments`.
    pub info: &'static str,
    /// The crate's name and version.
    pub plugin: (&'static str, &'static str),
    /// Runs the handler: JSON arguments in, JSON result out.
    pub run: fn(&str) -> Result<String>,
    /// Describes the arguments.
    pub schema: fn(&mut ArgumentsSchema),
}

inventory::collect!(Entry);

/// Runs the handler named `name`.
pub(crate) fn run(name: &str, args: &str) -> Result<String> {
    match inventory::iter::<Entry>().find(|entry| entry.name == name) {
        Some(entry) => (entry.run)(args),
        None => Err(Error::new(format!("this plugin has no handler `{name}`"))),
    }
}

/// The `HandlerInfo` of a handler, as JSON text.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn info(name: &str) -> Option<&'static str> {
    let mut entries = inventory::iter::<Entry>();
    entries
        .find(|entry| entry.name == name)
        .map(|entry| entry.info)
}

/// The manifest as JSON text.
pub(crate) fn describe() -> String {
    // Sorted by name, because the linker's order is arbitrary. An insertion sort:
    // the standard sort would add 6 KB to every plugin.
    let mut entries: Vec<&Entry> = Vec::new();
    for entry in inventory::iter::<Entry>() {
        let place = entries.iter().position(|other| other.name > entry.name);
        entries.insert(place.unwrap_or(entries.len()), entry);
    }
    let (name, version) = entries.first().map_or(("", ""), |entry| entry.plugin);
    let handlers: Vec<Value> = entries.iter().map(|entry| handler(entry)).collect();
    json!({
        "contract": crate::CONTRACT,
        "plugin": { "name": name, "version": version },
        "handlers": handlers,
    })
    .to_string()
}

fn handler(entry: &Entry) -> Value {
    let mut info: Value =
        serde_json::from_str(entry.info).expect("the attribute writes a JSON object");
    let mut schema = ArgumentsSchema::new();
    (entry.schema)(&mut schema);
    info["arguments"] = schema.finish();
    info
}

/// Collects the JSON schema (draft 2020-12) of a handler's arguments.
#[derive(Debug)]
pub struct ArgumentsSchema {
    generator: SchemaGenerator,
    properties: Map<String, Value>,
    required: Vec<&'static str>,
    extra: bool,
    whole: Option<Value>,
}

impl ArgumentsSchema {
    fn new() -> Self {
        ArgumentsSchema {
            generator: SchemaSettings::draft2020_12().into_generator(),
            properties: Map::new(),
            required: Vec::new(),
            extra: false,
            whole: None,
        }
    }

    /// The whole payload is one value of this type.
    pub fn whole<T: Argument>(&mut self) {
        let generator = SchemaSettings::draft2020_12().into_generator();
        self.whole = Some(generator.into_root_schema_for::<T>().to_value());
    }

    /// A required argument.
    pub fn required<T: Argument>(&mut self, name: &'static str, docs: &str) {
        self.property::<T>(name, docs);
        self.required.push(name);
    }

    /// An argument that may be missing.
    pub fn optional<T: Argument>(&mut self, name: &'static str, docs: &str) {
        self.property::<T>(name, docs);
    }

    /// An argument with a default.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the attribute writes an expression"
    )]
    pub fn defaulted<T: Argument>(&mut self, name: &'static str, docs: &str, default: T) {
        // The runner rejects a plugin that panics here, and shows this message.
        let value = crate::json::value(&default)
            .unwrap_or_else(|fault| panic!("the default of argument `{name}`: {fault}"));
        self.property::<T>(name, docs)
            .insert("default".into(), value);
    }

    /// Unknown names are ignored.
    pub fn allow_extra(&mut self) {
        self.extra = true;
    }

    fn property<T: JsonSchema>(&mut self, name: &str, docs: &str) -> &mut Map<String, Value> {
        let schema = self.generator.subschema_for::<T>().to_value();
        // The schema `true` is equivalent to an empty object.
        let mut fields = match schema {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        if !docs.is_empty() {
            fields.insert("description".into(), docs.into());
        }
        let place = self.properties.entry(name).or_insert(Value::Null);
        *place = Value::Object(fields);
        place.as_object_mut().expect("it was just set to an object")
    }

    fn finish(mut self) -> Value {
        if let Some(whole) = self.whole {
            return whole;
        }
        let definitions = self.generator.take_definitions(true);
        let mut schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": self.properties,
            "required": self.required,
            "additionalProperties": self.extra,
        });
        if !definitions.is_empty() {
            schema["$defs"] = Value::Object(definitions);
        }
        schema
    }
}
