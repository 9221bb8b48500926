//! What a handler asks for: `needs(http = "https://api.example.com", sql)`.
//!
//! The rules are checked here, so that a mistake is found by the compiler and
//! not by the first denied request.

use std::fmt::Display;
use std::str::FromStr;

use pgtq_contract::{HttpRule, Name, PushRule, TcpRule, is_guest_directory};
use proc_macro2::{Ident, TokenStream};
use syn::parse::{ParseStream, Parser};
use syn::{LitStr, Token};

use crate::errors::{Errors, nearest};
use crate::tokens::at_commas;

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
            "http" => (
                &mut self.http,
                rule::<HttpRule>,
                "\"https://api.example.com\"",
            ),
            "tcp" => (&mut self.tcp, rule::<TcpRule>, "\"smtp.example.com:587\""),
            "secret" => (&mut self.secrets, secret, "\"stripe\""),
            "files" => (&mut self.files, directory, "\"/data\""),
            "push" => (&mut self.push, rule::<PushRule>, "\"mail.*\""),
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

/// A rule, in the form that the runner prints.
fn rule<R: FromStr<Err = String> + Display>(text: &str) -> Result<String, String> {
    text.parse().map(|rule: R| rule.to_string())
}

/// The name of a secret.
fn secret(text: &str) -> Result<String, String> {
    match Name::new(text) {
        Err(error) => Err(format!("`{text}`: {}", error.fault)),
        Ok(_) => Ok(text.to_owned()),
    }
}

/// A directory as the guest names it.
fn directory(text: &str) -> Result<String, String> {
    match is_guest_directory(text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}`: a directory begins with `/`, does not end with one and has no `.` or `..` \
             in it; write one like \"/data\""
        )),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_kept_in_the_form_that_the_runner_prints() {
        for (text, kept) in [
            (
                "get  post https://A.Example.com.:443/*",
                Some("GET,POST https://a.example.com"),
            ),
            ("http://a:080/v1/*", Some("http://a/v1/")),
            ("http://a/v1*", None),
            ("get post HTTPS", None),
        ] {
            assert_eq!(rule::<HttpRule>(text).ok().as_deref(), kept, "{text}");
        }
        assert_eq!(
            rule::<PushRule>("a  keys=shared priority=+5 queue=b,c").as_deref(),
            Ok("a queue=b,c priority=5 keys=shared")
        );
        assert_eq!(
            rule::<TcpRule>("SMTP.example.com:0587").as_deref(),
            Ok("smtp.example.com:587")
        );
    }

    #[test]
    fn directories_and_secrets_are_checked() {
        for text in ["", "/", "data", "/data/", "/a/../b", "/a//b", "/.", "/a\\b"] {
            assert!(directory(text).is_err(), "{text}");
        }
        assert!(secret("").is_err() && secret("a b").is_err() && secret("stripe").is_ok());
    }
}
