//! The options between the parentheses of `#[handler(...)]`.
//!
//! They are split at commas first and parsed one by one, so that an error in one
//! option does not hide errors in others.

use pgtq_contract::{Backoff, LimitRequest, Name, Retries};
use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Lit, LitInt, LitStr, Token};

use crate::errors::{Errors, nearest};
use crate::needs::Needs;
use crate::tokens::at_commas;
use crate::units;

/// What the options say; `None` where they say nothing.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    /// The name of the type of typed pushes; defaults to the function's name.
    pub(crate) push: Option<Ident>,
    pub(crate) retries: Option<Retries>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) limits: LimitRequest,
    pub(crate) queue: Option<LitStr>,
    pub(crate) priority: Option<i32>,
    pub(crate) extra: bool,
    pub(crate) needs: Needs,
}

const KNOWN: [&str; 11] = [
    "name", "push", "retries", "backoff", "timeout", "memory", "fuel", "queue", "priority",
    "extra", "needs",
];

impl Options {
    /// Parses all options; errors go to `errors`.
    pub(crate) fn parse(tokens: TokenStream, errors: &Errors) -> Self {
        let mut options = Options::default();
        let mut seen: Vec<String> = Vec::new();
        for part in at_commas(tokens) {
            let Some((key, value)) = errors.ok(key_and_value.parse2(part)) else {
                continue;
            };
            let word = key.to_string();
            if seen.contains(&word) {
                errors.at(&key, format!("`{word}` is given twice"));
            }
            match (&*word, value) {
                ("needs", Value::Inside(inside)) => options.needs = Needs::parse(inside, errors),
                (_, Value::Given(value)) if word != "needs" => {
                    errors.ok(options.set(&key, value));
                }
                ("needs", _) => errors.at(&key, NEEDS),
                _ => errors.at(&key, format!("`{word}` takes `=`: write `{word} = ...`")),
            }
            seen.push(word);
        }
        options
    }

    fn set(&mut self, key: &Ident, value: TokenStream) -> syn::Result<()> {
        match key.to_string().as_str() {
            "name" => self.name = Some(name.parse2(value)?),
            "push" => self.push = Some(type_name.parse2(value)?),
            "queue" => self.queue = Some(name.parse2(value)?),
            "retries" => self.retries = Some(retries.parse2(value)?),
            "backoff" => self.backoff = Some(backoff.parse2(value)?),
            "timeout" => self.limits.timeout_ms = Some(units::duration_ms(&syn::parse2(value)?)?),
            "memory" => self.limits.memory = Some(units::bytes(&syn::parse2(value)?)?),
            "fuel" => {
                self.limits.fuel = Some(units::count(&syn::parse2(value)?, "fuel = 1_000_000")?);
            }
            "priority" => self.priority = Some(priority.parse2(value)?),
            "extra" => self.extra = word("allow", value)?,
            other => {
                let hint = match nearest(other, &KNOWN) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the options are {}", KNOWN.join(", ")),
                };
                let message = format!("`#[handler]` has no option `{other}`: {hint}");
                return Err(syn::Error::new_spanned(key, message));
            }
        }
        Ok(())
    }
}

/// The part of an option after its name.
enum Value {
    /// `= value`
    Given(TokenStream),
    /// `(inside)`
    Inside(TokenStream),
}

const NEEDS: &str = "list capabilities (http, tcp, sql, secret, files, push), as in \
                     `needs(http = \"https://api.example.com\", sql)`";

fn key_and_value(input: ParseStream<'_>) -> syn::Result<(Ident, Value)> {
    let key: Ident = input.parse()?;
    if input.peek(syn::token::Paren) {
        let inside;
        syn::parenthesized!(inside in input);
        let tokens: TokenStream = inside.parse()?;
        return match tokens.is_empty() || !input.is_empty() {
            true => Err(syn::Error::new_spanned(&key, NEEDS)),
            false => Ok((key, Value::Inside(tokens))),
        };
    }
    if input.is_empty() {
        let message = match key == "needs" {
            true => NEEDS.to_owned(),
            false => format!("`{key}` needs a value: write `{key} = ...`"),
        };
        return Err(syn::Error::new_spanned(&key, message));
    }
    input.parse::<Token![=]>()?;
    let value: TokenStream = input.parse()?;
    if value.is_empty() {
        return Err(syn::Error::new_spanned(
            &key,
            format!("`{key}` needs a value"),
        ));
    }
    Ok((key, Value::Given(value)))
}

fn name(input: ParseStream<'_>) -> syn::Result<LitStr> {
    let literal: LitStr = input.parse().map_err(|error| {
        syn::Error::new(
            error.span(),
            "write a name in quotes, as in `\"mail.send\"`",
        )
    })?;
    match Name::new(&literal.value()) {
        Err(error) => Err(syn::Error::new_spanned(&literal, error.fault)),
        Ok(_) => Ok(literal),
    }
}

/// A type name, in quotes like other names.
fn type_name(input: ParseStream<'_>) -> syn::Result<Ident> {
    let whole: TokenStream = input.fork().parse()?;
    let literal: Option<LitStr> = input.parse().ok();
    let ident = literal.as_ref().and_then(|text| text.parse().ok());
    ident.ok_or_else(|| {
        let message = "write a type name in quotes, as in `push = \"csv_task\"`";
        syn::Error::new_spanned(whole, message)
    })
}

fn retries(input: ParseStream<'_>) -> syn::Result<Retries> {
    const EXAMPLE: &str = "retries = 5` or `retries = forever";
    if let Ok(word) = input.parse::<Ident>() {
        return match word == "forever" {
            true => Ok(Retries::Forever),
            false => Err(syn::Error::new_spanned(word, format!("write `{EXAMPLE}`"))),
        };
    }
    if input.peek(syn::Token![-]) {
        return Err(syn::Error::new(input.span(), format!("write `{EXAMPLE}`")));
    }
    units::count(&input.parse::<Lit>()?, EXAMPLE).map(Retries::Limited)
}

/// `exponential(10s..1h)`.
fn backoff(input: ParseStream<'_>) -> syn::Result<Backoff> {
    const EXAMPLE: &str = "write `backoff = exponential(10s..1h)`: first delay, longest delay";
    let whole: TokenStream = input.fork().parse()?;
    let wrong = || syn::Error::new_spanned(&whole, EXAMPLE);
    let kind: Ident = input.parse().map_err(|_| wrong())?;
    if kind != "exponential" || input.is_empty() {
        return Err(wrong());
    }
    let inside;
    syn::parenthesized!(inside in input);
    let Range { first, last } = inside.parse().map_err(|_| wrong())?;
    let (first_ms, max_ms) = (units::duration_ms(&first)?, units::duration_ms(&last)?);
    if first_ms > max_ms {
        return Err(syn::Error::new_spanned(
            quote!(#first..#last),
            "the first delay exceeds the longest delay: write the shorter delay first",
        ));
    }
    Ok(Backoff { first_ms, max_ms })
}

struct Range {
    first: Lit,
    last: Lit,
}

impl Parse for Range {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let first = input.parse()?;
        input.parse::<Token![..]>()?;
        let last = input.parse()?;
        Ok(Range { first, last })
    }
}

fn priority(input: ParseStream<'_>) -> syn::Result<i32> {
    let whole: TokenStream = input.fork().parse()?;
    let minus: Option<Token![-]> = input.parse()?;
    let number: Option<LitInt> = input.parse().ok();
    let sign = if minus.is_some() { "-" } else { "" };
    number
        .and_then(|number| format!("{sign}{number}").replace('_', "").parse().ok())
        .ok_or_else(|| {
            syn::Error::new_spanned(
                whole,
                "write an integer, as in `priority = 10`; lower values run earlier",
            )
        })
}

/// Parses an option with only one valid value.
fn word(expected: &str, value: TokenStream) -> syn::Result<bool> {
    if value.to_string() == expected {
        Ok(true)
    } else {
        Err(syn::Error::new_spanned(
            value,
            format!("the only value is `{expected}`"),
        ))
    }
}
