//! What a handler asks for: `needs(http = "https://api.example.com", sql)`.
//!
//! The rules are checked here, so that a mistake is found by the compiler and
//! not by the first denied request. Their grammar is the runner's
//! `task::rule`; the crates share no code, for a plugin's build must stay small.

use proc_macro2::{Ident, TokenStream};
use syn::parse::{ParseStream, Parser};
use syn::{LitStr, Token};

use crate::errors::{Errors, nearest};
use crate::options::at_commas;
use crate::rule;

/// What is asked for, in the form that the manifest keeps.
#[derive(Default, PartialEq)]
pub(crate) struct Needs {
    pub(crate) http: Vec<String>,
    pub(crate) tcp: Vec<String>,
    pub(crate) sql: bool,
    pub(crate) secrets: Vec<String>,
    pub(crate) files: Vec<String>,
    pub(crate) push: Vec<String>,
}

/// Brings a text into its one form, or says what to write.
type Check = fn(&str) -> Result<String, String>;

const KNOWN: [&str; 6] = ["http", "tcp", "sql", "secret", "files", "push"];

impl Needs {
    /// Reads what stands between the parentheses; mistakes go to `errors`.
    pub(crate) fn parse(tokens: TokenStream, errors: &Errors) -> Self {
        let mut needs = Needs::default();
        for part in at_commas(tokens) {
            let Some((key, value)) = errors.ok(key_and_texts.parse2(part)) else {
                continue;
            };
            needs.add(&key, value, errors);
        }
        needs
    }

    fn add(&mut self, key: &Ident, value: Option<Vec<LitStr>>, errors: &Errors) {
        let word = key.to_string();
        let (list, check, example): (_, Check, _) = match &*word {
            "http" => (&mut self.http, rule::http, "\"https://api.example.com\""),
            "tcp" => (&mut self.tcp, rule::tcp, "\"smtp.example.com:587\""),
            "secret" => (&mut self.secrets, rule::secret, "\"stripe\""),
            "files" => (&mut self.files, rule::directory, "\"/data\""),
            "push" => (&mut self.push, rule::push, "\"mail.*\""),
            "sql" => {
                if self.sql {
                    errors.at(key, "`sql` is given twice");
                }
                self.sql = true;
                return;
            }
            other => {
                let hint = match nearest(other, &KNOWN) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("a handler can need {}", KNOWN.join(", ")),
                };
                errors.at(key, format!("nothing is called `{other}`: {hint}"));
                return;
            }
        };
        let Some(texts) = value else {
            let message = format!("`{word}` needs a value: write `{word} = {example}`");
            errors.at(key, message);
            return;
        };
        for text in texts {
            match check(&text.value()) {
                Err(fault) => errors.at(&text, fault),
                Ok(rule) if list.contains(&rule) => {
                    errors.at(&text, format!("`{rule}` is given twice"));
                }
                Ok(rule) => list.push(rule),
            }
        }
    }
}

/// `key`, `key = "text"` or `key = ["text", "text"]`.
fn key_and_texts(input: ParseStream<'_>) -> syn::Result<(Ident, Option<Vec<LitStr>>)> {
    let key: Ident = input.parse()?;
    if input.is_empty() {
        return Ok((key, None));
    }
    if key == "sql" {
        let message = "`sql` has no value: write `sql` alone";
        return Err(syn::Error::new_spanned(&key, message));
    }
    input.parse::<Token![=]>()?;
    let whole: TokenStream = input.fork().parse()?;
    let wrong = || {
        let message = format!(
            "`{key}` takes a text in quotes, or a list of them: `{key} = [\"...\", \"...\"]`"
        );
        match whole.is_empty() {
            true => syn::Error::new_spanned(&key, message),
            false => syn::Error::new_spanned(&whole, message),
        }
    };
    let texts = if input.peek(syn::token::Bracket) {
        let inside;
        syn::bracketed!(inside in input);
        let list = inside.parse_terminated(|text| text.parse::<LitStr>(), Token![,]);
        list.map_err(|_| wrong())?.into_iter().collect()
    } else {
        vec![input.parse::<LitStr>().map_err(|_| wrong())?]
    };
    match input.is_empty() && !texts.is_empty() {
        true => Ok((key, Some(texts))),
        false => Err(wrong()),
    }
}
