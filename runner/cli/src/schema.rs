//! A handler's schema held against arguments, within limits.
//!
//! The schema comes from a plugin. The library that checks it follows every `$ref`
//! as often as the schema says, so a schema that refers to itself in many places
//! never ends, and one that does so without going into the value overflows the
//! stack. Such schemas, and those that take too long, check nothing: a schema
//! must not keep a task out.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// How long checking may take. It takes microseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Places that are visited when every reference is followed.
const MAX_STEPS: usize = 20_000;
/// References inside references.
const MAX_DEPTH: usize = 32;
/// Misfits that are told.
const MAX_MISFITS: usize = 5;

/// Keywords that apply to the same value, so that a circle through them never ends.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];
/// Keywords whose fields are names rather than keywords.
const MAPS: [&str; 3] = ["properties", "patternProperties", "dependentSchemas"];
/// Values, or definitions that only count where they are referred to.
const SKIPPED: [&str; 6] = [
    "enum",
    "const",
    "default",
    "examples",
    "$defs",
    "definitions",
];
/// Ways to refer that are not followed here.
const STRANGE: [&str; 6] = [
    "$id",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
];

/// Explains which part of `arguments` does not fit. None if the schema makes no sense
/// or cannot be checked within the limits.
pub(crate) fn misfits(schema: &Value, arguments: &Value) -> Option<Vec<String>> {
    Walk::new(schema).ends().then_some(())?;
    let (tell, told) = mpsc::channel();
    let (schema, arguments) = (schema.clone(), arguments.clone());
    // Not joined: if it does not end in time, it ends with the process.
    thread::spawn(move || {
        let _ = tell.send(check(&schema, &arguments));
    });
    told.recv_timeout(PATIENCE).ok().flatten()
}

fn check(schema: &Value, arguments: &Value) -> Option<Vec<String>> {
    let validator = jsonschema::validator_for(schema).ok()?;
    let errors = validator.iter_errors(arguments).take(MAX_MISFITS);
    let words = errors.map(|error| {
        let at = error.instance_path().to_string();
        match at.trim_start_matches('/').replace('/', ".").as_str() {
            "" => error.to_string(),
            at => format!("`{at}`: {error}"),
        }
    });
    Some(words.collect())
}

/// Follows every reference as the library does, and counts.
struct Walk<'a> {
    root: &'a Value,
    /// References that were followed to where it is.
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

    /// Whether `schema` can be checked. References of the path from `here` on apply to the
    /// same value.
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
            word if STRANGE.contains(&word) => false,
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
            // A circle: without end if nothing of the value was gone into.
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
    fn arguments_are_held_against_the_schema() {
        let schema = json!({"properties": {"a": {"type": "integer"}}, "required": ["a"]});
        assert_eq!(misfits(&schema, &json!({"a": 1})), Some(vec![]));
        let words = misfits(&schema, &json!({"a": "x"})).expect("it is checked");
        assert!(words[0].starts_with("`a`: "), "{words:?}");
    }

    #[test]
    fn a_schema_may_refer_to_itself_inside_of_a_value() {
        let schema = json!({
            "$defs": {"tree": {
                "type": "object",
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
            }},
            "$ref": "#/$defs/tree",
        });
        assert_eq!(misfits(&schema, &json!({"children": [{}]})), Some(vec![]));
        let bad = misfits(&schema, &json!({"children": [{"children": 1}]}));
        assert_eq!(bad.map(|words| words.len()), Some(1));
    }

    /// Each of these never ended, or took the process with it.
    #[test]
    fn a_schema_without_end_checks_nothing() {
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
            assert_eq!(misfits(&schema, &json!({"x": {"x": 1}})), None, "{schema}");
        }
    }
}
