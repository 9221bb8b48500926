//! The function's signature: its parameters and return type.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::{
    Attribute, Expr, ExprLit, FnArg, Ident, ItemFn, Lit, Meta, Pat, PatType, ReturnType, Type,
};

use pgtq_contract::Name;

use crate::errors::Errors;
use crate::shape::{Parameter, Shape, check_defaults, shape};
use crate::tokens::{is_named, plain_name};

/// How the return value is converted into a result.
pub(crate) enum Returns {
    Plain,
    Fallible,
    /// May be an alias of a `Result`: type inference decides.
    Inferred,
}

pub(crate) struct Signature {
    pub(crate) takes_ctx: bool,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) returns: Returns,
    pub(crate) return_span: Span,
}

/// Reads the signature, and removes the parameter attributes of this macro from the
/// function.
pub(crate) fn read(function: &mut ItemFn, named: bool, errors: &Errors) -> Signature {
    check(function, named, errors);
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut takes_ctx = false;
    for (index, argument) in function.sig.inputs.iter_mut().enumerate() {
        match argument {
            FnArg::Receiver(receiver) => {
                errors.at(receiver, "a handler must be a free function: remove `self`");
            }
            FnArg::Typed(typed) if is_ctx(&typed.ty) => {
                takes_ctx = true;
                if index > 0 {
                    errors.at(&typed.ty, "`&Ctx` must be the first parameter of a handler");
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
            "a handler cannot be `async`: remove it; a handler may block, because it has its own \
             sandbox",
        );
    }
    if let Some(token) = &sig.constness {
        errors.at(token, "a handler cannot be `const`: remove it");
    }
    if let Some(token) = &sig.unsafety {
        errors.at(
            token,
            "a handler cannot be `unsafe`: remove it; the runner calls a handler with any arguments",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, "a handler cannot be `extern`: remove it");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a handler cannot be variadic");
    }
    if !sig.generics.params.is_empty() {
        errors.at(
            &sig.generics,
            "a handler cannot be generic: write concrete types",
        );
    }
    if let Some(clause) = &sig.generics.where_clause {
        errors.at(clause, "a handler cannot have a `where` clause");
    }
    if let ReturnType::Type(_, returned) = &sig.output
        && let Type::ImplTrait(hidden) = returned.as_ref()
    {
        errors.at(
            hidden,
            "a handler needs a concrete return type: write one instead of `impl ...`",
        );
    }
    let name = plain_name(&sig.ident);
    if !named && let Err(error) = Name::new(&name) {
        let fault = error.fault;
        errors.at(
            &sig.ident,
            format!(
                "`{name}` is not a valid handler name ({fault}): set another with `name = \"...\"`"
            ),
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
            "a parameter cannot have `#[cfg]`, because other programs push the tasks: put `#[cfg]` \
             on the function, or make the argument an `Option`",
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
                "an argument needs a name, its name in the payload: write `_name` if it is unused",
            );
            return None;
        }
        other => {
            errors.at(
                other,
                "a parameter must be a plain name: destructure it inside the function",
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
        1 => "`Json` is the whole payload, so it must be the only argument",
        _ => "only one argument can be `Json`, the whole payload",
    };
    let types = function
        .sig
        .inputs
        .iter()
        .filter_map(|argument| match argument {
            FnArg::Typed(typed) if !is_ctx(&typed.ty) => Some(&typed.ty),
            _ => None,
        });
    // Points at the last one: the first is more likely to be intended.
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
            errors.at(other, "`#[default]` needs a value, as in `#[default(256)]`");
            None
        }
    }
}

/// The lines of the doc comment, without the space after `///`.
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
