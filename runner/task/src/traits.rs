//! Rare optional properties of tasks.

/// Maximum names that [`Traits::unknown`] returns, and maximum characters of each.
const MOST_NAMES: usize = 5;
const MOST_CHARS: usize = 40;

/// A JSON object that a task keeps through every transition. A field controls how the task is
/// processed, so a program that does not know the field must not run the task. A field whose
/// name begins with `_` is informational: it is kept, and the task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traits(String);

impl Traits {
    /// Wraps the text of a JSON object.
    pub fn new(json: impl Into<String>) -> Self {
        Traits(json.into())
    }

    /// The text, as the database returned it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The fields that this program does not know and may not ignore: some of their names,
    /// shortened for display. Empty: the task can run here.
    pub fn unknown(&self) -> Vec<String> {
        type Object<'a> = std::collections::BTreeMap<String, &'a serde_json::value::RawValue>;
        let Ok(object) = serde_json::from_str::<Object<'_>>(&self.0) else {
            return vec!["not a JSON object".to_owned()];
        };
        let names = object.keys().filter(|name| !name.starts_with('_'));
        let cut = |name: &String| name.chars().take(MOST_CHARS).collect();
        names.take(MOST_NAMES).map(cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(json: &str) -> Vec<String> {
        Traits::new(json).unknown()
    }

    #[test]
    fn every_field_is_unknown_unless_it_is_information() {
        assert!(unknown("{}").is_empty());
        assert!(unknown(r#"{"_t": "00-ab", "_": {"g": 1}}"#).is_empty());
        assert_eq!(unknown(r#"{"g": "acme", "_t": 1, "f": 4}"#), ["f", "g"]);
    }

    #[test]
    fn a_task_with_traits_other_than_an_object_cannot_run() {
        for json in ["1", "null", "[]", "{", ""] {
            assert_eq!(unknown(json), ["not a JSON object"], "{json}");
        }
    }

    #[test]
    fn names_are_few_and_short() {
        let long = "ä".repeat(100);
        let names = unknown(&format!(
            r#"{{"a": 1, "b": 1, "c": 1, "d": 1, "{long}": 1, "z": 1}}"#
        ));
        assert_eq!(names.len(), MOST_NAMES);
        assert_eq!(
            unknown(&format!(r#"{{"{long}": 1}}"#))[0].chars().count(),
            MOST_CHARS
        );
    }
}
