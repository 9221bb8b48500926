//! Statement parameters.

use serde::Serialize;
use serde_json::Value;

use crate::error::Result;
use crate::json;

/// The values of `$1`, `$2`, ...: a tuple of up to 16 values, an array, a slice or
/// a `Vec`; `()` for none.
///
/// Numbers, booleans, strings, `Option`s, JSON values and
/// [`Bytes`](crate::Bytes) are converted to the type that the statement expects;
/// times and UUIDs are passed as strings.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of parameters",
    label = "not a list of parameters",
    note = "write `(a, b)` for two parameters, `(a,)` for one, `()` for none"
)]
pub trait Params {
    /// A JSON array with one item per parameter.
    ///
    /// # Errors
    /// Code `json` if a parameter cannot be written as JSON.
    fn into_json(self) -> Result<String>;
}

impl Params for () {
    fn into_json(self) -> Result<String> {
        Ok("[]".to_owned())
    }
}

impl<T: Serialize> Params for &[T] {
    fn into_json(self) -> Result<String> {
        text(self)
    }
}

impl<T: Serialize, const N: usize> Params for [T; N] {
    fn into_json(self) -> Result<String> {
        text(self.as_slice())
    }
}

impl<T: Serialize, const N: usize> Params for &[T; N] {
    fn into_json(self) -> Result<String> {
        text(self.as_slice())
    }
}

impl<T: Serialize> Params for Vec<T> {
    fn into_json(self) -> Result<String> {
        text(self.as_slice())
    }
}

impl<T: Serialize> Params for &Vec<T> {
    fn into_json(self) -> Result<String> {
        text(self.as_slice())
    }
}

fn text<T: Serialize>(items: &[T]) -> Result<String> {
    Ok(json::parameters(items)?)
}

macro_rules! tuples {
    ($(($($name:ident)+))+) => {$(
        impl<$($name: Serialize),+> Params for ($($name,)+) {
            fn into_json(self) -> Result<String> {
                #[expect(non_snake_case, reason = "variables have the names of their types")]
                let ($($name,)+) = self;
                // Converted to values first: plugins stay small with one serializer of
                // lists for all tuples.
                let mut index = 0..;
                let items: Vec<Value> = vec![$(
                    json::parameter(index.next().unwrap_or_default(), &$name)?
                ),+];
                text(&items)
            }
        }
    )+};
}

tuples! {
    (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) (A B C D E F G)
    (A B C D E F G H) (A B C D E F G H I) (A B C D E F G H I J)
    (A B C D E F G H I J K) (A B C D E F G H I J K L) (A B C D E F G H I J K L M)
    (A B C D E F G H I J K L M N) (A B C D E F G H I J K L M N O)
    (A B C D E F G H I J K L M N O P)
}
