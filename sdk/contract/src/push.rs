//! Push rules: handlers, and the queues, priorities and keys allowed with them.

use std::fmt;
use std::str::FromStr;

use crate::name::{Name, NameError};

/// Handlers of a rule: one, or all with a common prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandlerRule {
    /// `mail.*`, or `*` for all.
    Prefix(String),
    /// `notify`.
    Exactly(Name),
}

impl HandlerRule {
    /// Whether the rule matches a handler.
    pub fn allows(&self, handler: &str) -> bool {
        match self {
            HandlerRule::Prefix(prefix) => handler.starts_with(prefix.as_str()),
            HandlerRule::Exactly(name) => name.as_str() == handler,
        }
    }
}

impl FromStr for HandlerRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is neither the name of a handler nor a prefix followed by `*`");
        match text.strip_suffix('*') {
            Some("") => Ok(HandlerRule::Prefix(String::new())),
            Some(prefix) => match Name::new(prefix) {
                Ok(prefix) => Ok(HandlerRule::Prefix(prefix.as_str().to_owned())),
                Err(_) => Err(wrong()),
            },
            None => match Name::new(text) {
                Ok(name) => Ok(HandlerRule::Exactly(name)),
                Err(_) => Err(wrong()),
            },
        }
    }
}

impl fmt::Display for HandlerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandlerRule::Prefix(prefix) => write!(f, "{prefix}*"),
            HandlerRule::Exactly(name) => f.write_str(name.as_str()),
        }
    }
}

/// `mail.* queue=mail,bulk priority=-10 keys=shared`: handlers, and the options of a push to
/// them beyond a handler's defaults: other queues, priorities down to this one, and idempotency
/// keys in the scope of applications.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PushRule {
    /// The handlers.
    pub handlers: HandlerRule,
    /// Queues besides the handler's default.
    pub queues: Vec<Name>,
    /// The most urgent priority allowed, if it is more urgent than the handler's default.
    pub priority: Option<i32>,
    /// Whether keys are the applications' keys instead of the plugin's own.
    pub shared_keys: bool,
}

impl PushRule {
    /// Whether the rule allows a push. `defaults` are those of the handler, as far as they are
    /// trusted: a rule never allows a priority below 0 that it does not name.
    pub fn allows(
        &self,
        handler: &str,
        queue: &str,
        priority: i32,
        defaults: &PushDefaults,
    ) -> bool {
        let least = defaults.priority.max(0);
        self.handlers.allows(handler)
            && (defaults.queue() == queue || self.queues.iter().any(|one| one.as_str() == queue))
            && priority >= self.priority.map_or(least, |urgent| urgent.min(least))
    }
}

impl FromStr for PushRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str =
            "write a rule like \"mail.*\" or \"mail.* queue=mail priority=-10 keys=shared\"";
        let wrong = |reason: &str| format!("`{text}`: {reason}; {EXAMPLE}");
        let mut words = text.split_whitespace();
        let handlers: HandlerRule = words
            .next()
            .ok_or_else(|| wrong("a rule names handlers"))?
            .parse()
            .map_err(|error: String| wrong(&error))?;
        let mut rule = PushRule {
            handlers,
            queues: Vec::new(),
            priority: None,
            shared_keys: false,
        };
        for word in words {
            match word.split_once('=') {
                Some(("queue", names)) if rule.queues.is_empty() => {
                    let queues: Result<_, NameError> = names.split(',').map(Name::new).collect();
                    rule.queues =
                        queues.map_err(|error| wrong(&format!("queue: {}", error.fault)))?;
                }
                Some(("priority", number)) if rule.priority.is_none() => {
                    let number = number.parse();
                    rule.priority =
                        Some(number.map_err(|_| wrong("a priority is a whole number"))?);
                }
                Some(("keys", "shared")) if !rule.shared_keys => rule.shared_keys = true,
                _ => return Err(wrong(&format!("`{word}` is unknown, or given twice"))),
            }
        }
        Ok(rule)
    }
}

impl fmt::Display for PushRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handlers.fmt(f)?;
        if !self.queues.is_empty() {
            let queues: Vec<&str> = self.queues.iter().map(Name::as_str).collect();
            write!(f, " queue={}", queues.join(","))?;
        }
        if let Some(priority) = self.priority {
            write!(f, " priority={priority}")?;
        }
        match self.shared_keys {
            true => f.write_str(" keys=shared"),
            false => Ok(()),
        }
    }
}

/// Queue and priority that a handler declares for pushes to itself: `#[handler(queue = "mail",
/// priority = 10)]`. They apply to pushes by its own plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct PushDefaults {
    /// `None` means the queue `default`.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub queue: Option<Name>,
    /// Lower values run earlier.
    pub priority: i32,
}

impl PushDefaults {
    /// Whether it declares nothing, as most handlers do.
    pub fn is_empty(&self) -> bool {
        *self == PushDefaults::default()
    }

    /// The queue of a push that does not specify one.
    pub fn queue(&self) -> &str {
        self.queue.as_ref().map_or("default", Name::as_str)
    }

    /// Whether a push by the handler's own plugin needs no grant: it goes to the declared queue,
    /// and its priority is not more urgent than the declared one, or than 0.
    pub fn are_free(&self, queue: &str, priority: i32) -> bool {
        self.queue() == queue && priority >= self.priority.max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> PushRule {
        text.parse().expect("a rule")
    }

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    #[test]
    fn a_push_rule_round_trips_through_text() {
        for text in [
            "notify",
            "mail.*",
            "*",
            "mail.send queue=mail,bulk priority=-10 keys=shared",
            "notify priority=-2147483648",
        ] {
            assert_eq!(rule(text).to_string(), text);
        }
        let untidy = " notify   keys=shared priority=+5 queue=a ";
        assert_eq!(
            rule(untidy).to_string(),
            "notify queue=a priority=5 keys=shared"
        );
    }

    #[test]
    fn a_push_rule_with_a_mistake_is_rejected_with_an_example() {
        for text in [
            "",
            " ",
            "a b",
            "mail.*.x",
            "**",
            "*.mail",
            "mail/x",
            "a queue",
            "a queue=",
            "a queue=b,",
            "a queue=b queue=c",
            "a priority=high",
            "a priority=3000000000",
            "a keys=plain",
            "a keys=shared keys=shared",
            "a color=red",
        ] {
            let error = text.parse::<PushRule>().expect_err(text);
            assert!(error.contains("write a rule like \"mail.*\""), "{error}");
        }
    }

    #[test]
    fn a_star_covers_names_with_the_prefix_and_no_others() {
        let rule = rule("mail.*");
        let allows = |handler| rule.allows(handler, "default", 0, &PushDefaults::default());
        assert!(allows("mail.send") && allows("mail."));
        assert!(!allows("mail") && !allows("mailer") && !allows("x.mail.send"));
    }

    #[test]
    fn a_rule_without_options_allows_the_defaults_of_the_handler() {
        let rule = rule("work");
        let declared = PushDefaults {
            queue: Some(name("slow")),
            priority: 10,
        };
        assert!(rule.allows("work", "slow", 10, &declared));
        assert!(rule.allows("work", "slow", i32::MAX, &declared));
        assert!(!rule.allows("work", "slow", 9, &declared));
        assert!(!rule.allows("work", "default", 10, &declared));
    }

    #[test]
    fn a_priority_below_zero_needs_a_rule_with_it() {
        let declared = PushDefaults {
            queue: None,
            priority: -5,
        };
        let allows =
            |text: &str, priority| rule(text).allows("work", "default", priority, &declared);
        assert!(!allows("work", -5) && allows("work", 0));
        assert!(allows("work priority=-5", -5) && !allows("work priority=-5", -6));
        // A rule never removes permissions.
        assert!(allows("work priority=7", 0));
    }

    #[test]
    fn queues_of_a_rule_add_to_the_default_one() {
        let rule = rule("work queue=mail,bulk");
        let allows = |queue| rule.allows("work", queue, 0, &PushDefaults::default());
        assert!(allows("default") && allows("mail") && allows("bulk") && !allows("other"));
    }
}
