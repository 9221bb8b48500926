//! Validates arguments against the JSON Schema of a handler, within limits.
//!
//! The schema comes from a plugin and is untrusted. The validation library follows every
//! `$ref`, so a schema that refers to itself in many places does not terminate, and one
//! that refers to itself for the same value overflows the stack. Such schemas, and those
//! that take too long, are ignored: a schema must not prevent a push.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// Time limit of a validation, which usually takes microseconds.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Limit on visited subschemas if every reference is followed.
const MAX_STEPS: usize = 20_000;
/// Limit on nested references.
const MAX_DEPTH: usize = 32;
/// Limit on reported violations.
const MAX_VIOLATIONS: usize = 5;

/// Keywords that apply to the same value, so a cycle through them does not terminate.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];
/// Keywords whose fields are names rather than keywords.
const MAPS: [&str; 3] = ["properties", "patternProperties", "dependentSchemas"];
/// Keywords with values, or with definitions that apply only where they are referred to.
const SKIPPED: [&str; 6] = [
    "enum",
    "const",
    "default",
    "examples",
    "$defs",
    "definitions",
];
/// Kinds of references that are not supported.
const UNSUPPORTED: [&str; 6] = [
    "$id",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
];

/// Describes how `arguments` violate the schema. `None` if the schema is invalid or exceeds
/// the limits.
pub(crate) fn violations(schema: &Value, arguments: &Value) -> Option<Vec<String>> {
    Walk::new(schema).ends().then_some(())?;
    let (sender, result) = mpsc::channel();
    let (schema, arguments) = (schema.clone(), arguments.clone());
    // Not joined: a validation that exceeds the time limit ends with the process.
    thread::spawn(move || {
        let _ = sender.send(check(&schema, &arguments));
    });
    result.recv_timeout(TIME_LIMIT).ok().flatten()
}

fn check(schema: &Value, arguments: &Value) -> Option<Vec<String>> {
    let validator = jsonschema::validator_for(schema).ok()?;
    let errors = validator.iter_errors(arguments).take(MAX_VIOLATIONS);
    let messages = errors.map(|error| {
        let at = error.instance_path().to_string();
        match at.trim_start_matches('/').replace('/', ".").as_str() {
            "" => error.to_string(),
            at => format!("`{at}`: {error}"),
        }
    });
    Some(messages.collect())
}

/// Follows every reference like the library, and counts steps.
struct Walk<'a> {
    root: &'a Value,
    /// References on the path to the current subschema.
    path: Vec<&'a str>,
    steps: usize,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Value) -> Self {
        Walk {
            root,
            path: Vec::new(),
            steps: 0,
        }
    }

    fn ends(mut self) -> bool {
        self.schema(self.root, 0)
    }

    /// Whether a validation of `schema` terminates. The references of the path from `here`
    /// on apply to the same value.
    fn schema(&mut self, schema: &'a Value, here: usize) -> bool {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.path.len() > MAX_DEPTH {
            return false;
        }
        match schema {
            Value::Array(many) => many.iter().all(|one| self.schema(one, here)),
            Value::Object(fields) => fields
                .iter()
                .all(|(word, value)| self.keyword(word, value, here)),
            _ => true,
        }
    }

    fn keyword(&mut self, word: &str, value: &'a Value, here: usize) -> bool {
        let inside = self.path.len();
        match word {
            "$ref" => self.reference(value, here),
            word if UNSUPPORTED.contains(&word) => false,
            word if SKIPPED.contains(&word) => true,
            word if IN_PLACE.contains(&word) => self.schema(value, here),
            word if MAPS.contains(&word) => {
                let within = if word == "dependentSchemas" {
                    here
                } else {
                    inside
                };
                let fields = value.as_object().into_iter().flat_map(|map| map.values());
                fields.into_iter().all(|field| self.schema(field, within))
            }
            _ => self.schema(value, inside),
        }
    }

    fn reference(&mut self, value: &'a Value, here: usize) -> bool {
        let Some(name) = value.as_str() else {
            return false;
        };
        let target = name.strip_prefix('#').and_then(|at| self.root.pointer(at));
        let Some(target) = target else {
            return false;
        };
        match self.path.iter().position(|known| *known == name) {
            // A cycle, which terminates only if it descends into the value.
            Some(at) => at < here,
            None if name == "#" && here == 0 => false,
            None => {
                self.path.push(name);
                let ends = self.schema(target, here);
                self.path.pop();
                ends
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_validated_against_the_schema() {
        let schema = json!({"properties": {"a": {"type": "integer"}}, "required": ["a"]});
        assert_eq!(violations(&schema, &json!({"a": 1})), Some(vec![]));
        let found = violations(&schema, &json!({"a": "x"})).expect("it is checked");
        assert!(found[0].starts_with("`a`: "), "{found:?}");
    }

    #[test]
    fn a_schema_may_refer_to_itself_for_nested_values() {
        let schema = json!({
            "$defs": {"tree": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
            }},
            "$ref": "#/$defs/tree",
        });
        assert_eq!(
            violations(&schema, &json!({"children": [{}]})),
            Some(vec![])
        );
        let bad = violations(&schema, &json!({"children": [{"children": 1}]}));
        assert_eq!(bad.map(|found| found.len()), Some(1));
    }

    /// Each of these did not terminate, or crashed the process.
    #[test]
    fn an_endless_schema_is_ignored() {
        let twice = |to: &str| json!({"anyOf": [{"$ref": to}, {"$ref": to}]});
        let mut doubling = serde_json::Map::new();
        for n in 0..40 {
            doubling.insert(format!("d{n}"), twice(&format!("#/$defs/d{}", n + 1)));
        }
        doubling.insert("d40".to_owned(), json!({"type": "integer"}));
        let names: Vec<String> = (0..12).map(|n| format!("#/$defs/m{n}")).collect();
        let all = || -> Vec<Value> { names.iter().map(|name| json!({"$ref": name})).collect() };
        let mesh: serde_json::Map<String, Value> = (0..12)
            .map(|n| {
                (
                    format!("m{n}"),
                    json!({"properties": {"x": {"anyOf": all()}}}),
                )
            })
            .collect();
        for schema in [
            json!({"$ref": "#"}),
            json!({"$defs": {"a": twice("#/$defs/a")}, "$ref": "#/$defs/a"}),
            json!({"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}},
                "$ref": "#/$defs/a"}),
            json!({"$defs": doubling, "$ref": "#/$defs/d0"}),
            json!({"$defs": mesh, "$ref": "#/$defs/m0"}),
            json!({"$ref": "http://127.0.0.1/schema"}),
        ] {
            assert_eq!(
                violations(&schema, &json!({"x": {"x": 1}})),
                None,
                "{schema}"
            );
        }
    }
}
