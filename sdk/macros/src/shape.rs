//! How a parameter gets its value, from its type and its `#[default]`.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Expr, GenericArgument, PathArguments, Type, TypeReference};

use crate::errors::Errors;
use crate::tokens::{is_named, plain_name};

/// One parameter that comes out of the payload.
pub(crate) struct Parameter {
    /// The name in the payload.
    pub(crate) name: String,
    /// The name in generated code.
    pub(crate) ident: Ident,
    pub(crate) shape: Shape,
    pub(crate) docs: String,
}

/// How a parameter gets its value.
pub(crate) enum Shape {
    Required(Type),
    /// The type inside `Option`.
    Optional(Type),
    Defaulted(Type, Box<Expr>),
    /// `&str`, borrowed from a `String`.
    Text(Option<Box<Expr>>),
    /// `Option<&str>`, borrowed from an `Option<String>`.
    OptionalText,
    /// The type inside `Json`: the whole payload.
    Whole(Type),
}

const NO_OPTIONAL_DEFAULT: &str =
    "an `Option` is already optional: remove `#[default]` or the `Option`";

/// The shape of a parameter of this type; on an error, adds it and returns `None`.
pub(crate) fn shape(ty: &Type, default: Option<Box<Expr>>, errors: &Errors) -> Option<Shape> {
    let rejected = |message: &str| {
        errors.at(ty, message);
        None
    };
    match ty {
        Type::Reference(reference) => match borrowed(reference) {
            Ok(()) => Some(Shape::Text(default)),
            Err(message) => rejected(message),
        },
        Type::ImplTrait(_) => {
            rejected("an argument needs a concrete type: write one instead of `impl ...`")
        }
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            let inner = sole_argument(&last.arguments);
            match (last.ident.to_string().as_str(), inner) {
                ("Ctx", None) => rejected("the context is borrowed: write `&Ctx`"),
                ("Option", Some(_)) if default.is_some() => rejected(NO_OPTIONAL_DEFAULT),
                ("Option", Some(Type::Reference(reference))) => match borrowed(reference) {
                    Ok(()) => Some(Shape::OptionalText),
                    Err(message) => rejected(message),
                },
                ("Option", Some(inner)) => owned(inner, errors, Shape::Optional),
                ("Json", Some(_)) if default.is_some() => {
                    rejected("`Json` is the whole payload and has no default: remove `#[default]`")
                }
                ("Json", Some(inner)) => owned(inner, errors, Shape::Whole),
                _ => required(ty, default, errors),
            }
        }
        _ => required(ty, default, errors),
    }
}

/// Accepts `&str`, the only reference besides `&Ctx`. The error says what to write
/// instead.
fn borrowed(reference: &TypeReference) -> Result<(), &'static str> {
    if reference.mutability.is_some() {
        return Err(match is_named(&reference.elem, "Ctx") {
            true => "the context is shared: write `&Ctx`",
            false => "a handler owns its arguments: write the type without `&mut`",
        });
    }
    match (reference.elem.as_ref(), &reference.lifetime) {
        (Type::Path(path), lifetime) if path.path.is_ident("str") => match lifetime {
            Some(name) if name.ident == "static" => Err(
                "an argument is dropped when the handler returns: write `&str`, or `String` to \
                 own it",
            ),
            _ => Ok(()),
        },
        (Type::Slice(_), _) => {
            Err("a handler owns its arguments: write `Vec<T>` instead of `&[T]`")
        }
        _ => Err(
            "a handler owns its arguments: write the type without `&` (only `&Ctx`, `&str` and \
             `Option<&str>` are borrowed)",
        ),
    }
}

fn required(ty: &Type, default: Option<Box<Expr>>, errors: &Errors) -> Option<Shape> {
    owned(ty, errors, |ty| match default {
        Some(default) => Shape::Defaulted(ty, default),
        None => Shape::Required(ty),
    })
}

/// The shape for a type; an error if it contains a reference.
fn owned(ty: &Type, errors: &Errors, shape: impl FnOnce(Type) -> Shape) -> Option<Shape> {
    match reference_in(ty) {
        None => Some(shape(ty.clone())),
        Some(reference) => {
            errors.at(
                reference,
                "a type inside an argument cannot be a reference: write `String` instead of `&str` \
                 and `T` instead of `&T` (only `&str` and `Option<&str>` are borrowed)",
            );
            None
        }
    }
}

/// The first reference in a type.
fn reference_in(ty: &Type) -> Option<&Type> {
    match ty {
        Type::Reference(_) => Some(ty),
        Type::Array(array) => reference_in(&array.elem),
        Type::Slice(slice) => reference_in(&slice.elem),
        Type::Paren(paren) => reference_in(&paren.elem),
        Type::Group(group) => reference_in(&group.elem),
        Type::Tuple(tuple) => tuple.elems.iter().find_map(reference_in),
        Type::Path(path) => {
            let mut segments = path.path.segments.iter();
            segments.find_map(|segment| match &segment.arguments {
                PathArguments::AngleBracketed(list) => {
                    list.args.iter().find_map(|argument| match argument {
                        GenericArgument::Type(inner) => reference_in(inner),
                        _ => None,
                    })
                }
                _ => None,
            })
        }
        _ => None,
    }
}

fn sole_argument(arguments: &PathArguments) -> Option<&Type> {
    match arguments {
        PathArguments::AngleBracketed(list) => match list.args.first() {
            Some(GenericArgument::Type(ty)) if list.args.len() == 1 => Some(ty),
            _ => None,
        },
        _ => None,
    }
}

/// Rejects defaults that depend on an argument: the manifest contains the value, and
/// there is no task when the manifest is made.
pub(crate) fn check_defaults(parameters: &[Parameter], errors: &Errors) {
    for (place, parameter) in parameters.iter().enumerate() {
        let (Shape::Defaulted(_, default) | Shape::Text(Some(default))) = &parameter.shape else {
            continue;
        };
        let used = variables(default.to_token_stream());
        // A call is allowed if the parameter with that name follows: it does not shadow
        // the function yet.
        let names = |(other_place, other): &(usize, &Parameter)| {
            let mut uses = used.iter().filter(|(name, _)| *name == other.name);
            uses.any(|(_, is_called)| *other_place < place || (*other_place > place && !is_called))
        };
        if let Some((_, other)) = parameters.iter().enumerate().find(names) {
            let (name, other) = (&parameter.name, &other.name);
            errors.at(
                default,
                format!(
                    "a default cannot depend on another argument, because the manifest contains its \
                     value: make `{name}` an `Option` and write `{name}.unwrap_or({other})` in the \
                     function"
                ),
            );
        }
    }
}

/// The identifiers of an expression that may be variables (not after `.` or `::`, not
/// before `:`), and whether they are called.
fn variables(expression: TokenStream) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let tokens: Vec<TokenTree> = expression.into_iter().collect();
    let is_mark = |place: Option<usize>, marks: &[char]| {
        let token = place.and_then(|place| tokens.get(place));
        matches!(token, Some(TokenTree::Punct(mark)) if marks.contains(&mark.as_char()))
    };
    for (place, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) => {
                let next = tokens.get(place + 1);
                let is_path = is_mark(place.checked_sub(1), &['.', ':']);
                let is_macro = is_mark(Some(place + 1), &['!'])
                    && matches!(tokens.get(place + 2), Some(TokenTree::Group(_)));
                if !is_path && !is_macro && !is_mark(Some(place + 1), &[':']) {
                    let is_called = matches!(next, Some(TokenTree::Group(group))
                        if group.delimiter() == Delimiter::Parenthesis);
                    found.push((plain_name(ident), is_called));
                }
            }
            TokenTree::Group(group) => found.extend(variables(group.stream())),
            _ => {}
        }
    }
    found
}
