//! What the function says: its parameters and what it returns.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{
    Attribute, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, Meta, Pat, PatType, ReturnType, Type,
};

use pgtq_contract::Name;

use crate::errors::Errors;
use crate::shape::{Parameter, Shape, check_defaults, shape};
use crate::tokens::plain_name;

/// How the return value is turned into a result.
pub(crate) enum Returns {
    Plain,
    Fallible,
    /// An alias may hide a `Result`: the compiler decides.
    Inferred,
}

pub(crate) struct Signature {
    pub(crate) takes_ctx: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) returns: Returns,
    pub(crate) return_span: Span,
}

/// Reads the signature, and takes from the function the parameter attributes
/// that only this macro knows.
pub(crate) fn read(function: &mut ItemFn, named: bool, errors: &Errors) -> Signature {
    check(function, named, errors);
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut takes_ctx = false;
    for (index, argument) in function.sig.inputs.iter_mut().enumerate() {
        match argument {
            FnArg::Receiver(receiver) => {
                errors.at(receiver, "a handler is a free function: it has no `self`");
            }
            FnArg::Typed(typed) if is_ctx(&typed.ty) => {
                takes_ctx = true;
                if index > 0 {
                    errors.at(&typed.ty, "`&Ctx` is the first parameter of a handler");
                }
            }
            FnArg::Typed(typed) => parameters.extend(parameter(typed, errors)),
        }
    }
    check_whole(function, &parameters, errors);
    check_defaults(&parameters, errors);
    Signature {
        takes_ctx,
        parameters,
        returns: returns(&function.sig.output),
        return_span: match &function.sig.output {
            ReturnType::Default => function.sig.ident.span(),
            ReturnType::Type(_, returned) => returned.span(),
        },
    }
}

fn check(function: &ItemFn, named: bool, errors: &Errors) {
    let sig = &function.sig;
    if let Some(token) = &sig.asyncness {
        errors.at(
            token,
            "a handler is not `async`: it has a sandbox of its own and may simply take its time",
        );
    }
    if let Some(token) = &sig.constness {
        errors.at(token, "a handler is not `const`: remove the word");
    }
    if let Some(token) = &sig.unsafety {
        errors.at(
            token,
            "a handler is not `unsafe`: the runner calls it with any arguments",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.at(
            abi,
            "a handler is an ordinary Rust function: remove `extern`",
        );
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a handler has a fixed list of parameters");
    }
    if !sig.generics.params.is_empty() {
        errors.at(
            &sig.generics,
            "a handler is not generic: tasks carry no types, so write the types out",
        );
    }
    if let Some(clause) = &sig.generics.where_clause {
        errors.at(clause, "a handler has no `where` clause");
    }
    if let ReturnType::Type(_, returned) = &sig.output
        && let Type::ImplTrait(hidden) = returned.as_ref()
    {
        errors.at(
            hidden,
            "write the type that is returned: the runner stores it as JSON",
        );
    }
    let name = plain_name(&sig.ident);
    if !named && let Err(error) = Name::new(&name) {
        let fault = error.fault;
        errors.at(
            &sig.ident,
            format!("`{name}` is no name for a handler ({fault}): add `name = \"...\"`"),
        );
    }
}

fn parameter(typed: &mut PatType, errors: &Errors) -> Option<Parameter> {
    let docs = docs(&typed.attrs);
    let default = default(&typed.attrs, errors);
    let is_conditional = |a: &Attribute| a.path().is_ident("cfg") || a.path().is_ident("cfg_attr");
    let conditional = typed.attrs.iter().find(|a| is_conditional(a)).cloned();
    typed.attrs.retain(|attribute| {
        let path = attribute.path();
        !path.is_ident("doc") && !path.is_ident("default") && !is_conditional(attribute)
    });
    if let Some(conditional) = conditional {
        errors.at(
            conditional,
            "an argument is always there, for tasks are pushed by other programs: put `#[cfg]` on \
             the whole function, or make the argument an `Option`",
        );
        return None;
    }
    let shape = shape(&typed.ty, default, errors)?;
    let ident = match typed.pat.as_ref() {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
            pattern.ident.clone()
        }
        other if matches!(shape, Shape::Whole(_)) => Ident::new("payload", other.span()),
        Pat::Wild(wild) => {
            errors.at(
                wild,
                "the argument needs a name, for that is its name in the payload; `_name` is one",
            );
            return None;
        }
        other => {
            errors.at(
                other,
                "an argument is a plain name: take it apart inside the function",
            );
            return None;
        }
    };
    let name = plain_name(&ident);
    Some(Parameter {
        name,
        ident,
        shape,
        docs,
    })
}

fn check_whole(function: &ItemFn, parameters: &[Parameter], errors: &Errors) {
    let whole = |parameter: &&Parameter| matches!(parameter.shape, Shape::Whole(_));
    let n_whole = parameters.iter().filter(whole).count();
    if n_whole == 0 || parameters.len() == 1 {
        return;
    }
    let message = match n_whole {
        1 => "`Json` takes the whole payload, so it is the only argument",
        _ => "only one `Json` can take the whole payload",
    };
    let types = function
        .sig
        .inputs
        .iter()
        .filter_map(|argument| match argument {
            FnArg::Typed(typed) if !is_ctx(&typed.ty) => Some(&typed.ty),
            _ => None,
        });
    // Points at the last one: the first may well be the one that is meant.
    let json = types.filter(|ty| is_named(ty, "Json")).last();
    match json {
        Some(ty) => errors.at(ty, message),
        None => errors.at(&function.sig.ident, message),
    }
}

fn returns(output: &ReturnType) -> Returns {
    match output {
        ReturnType::Default => Returns::Plain,
        ReturnType::Type(_, ty) if is_named(ty, "Result") => Returns::Fallible,
        ReturnType::Type(..) => Returns::Inferred,
    }
}

fn is_named(ty: &Type, name: &str) -> bool {
    match ty {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .is_some_and(|last| last.ident == name),
        _ => false,
    }
}

fn is_ctx(ty: &Type) -> bool {
    match ty {
        Type::Reference(reference) => {
            reference.mutability.is_none() && is_named(&reference.elem, "Ctx")
        }
        _ => false,
    }
}

fn default(attributes: &[Attribute], errors: &Errors) -> Option<Box<Expr>> {
    let attribute = attributes.iter().find(|a| a.path().is_ident("default"))?;
    match &attribute.meta {
        Meta::List(list) => errors.ok(list.parse_args()).map(Box::new),
        other => {
            errors.at(other, "write the value: `#[default(256)]`");
            None
        }
    }
}

/// The doc comment's lines, without the blank that follows `///`.
pub(crate) fn docs(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(text),
                    ..
                }) => Some(text.value()),
                _ => None,
            },
            _ => None,
        });
    let lines: Vec<String> = lines
        .map(|line| {
            line.strip_prefix(' ')
                .unwrap_or(&line)
                .trim_end()
                .to_owned()
        })
        .collect();
    lines.join("\n").trim().to_owned()
}
