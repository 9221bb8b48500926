//! Parameters of a statement.

use serde::Serialize;
use serde_json::Value;

use crate::error::Result;
use crate::json;

/// What can stand for `$1`, `$2`, ...: a tuple of up to 16, an array, a slice or
/// a `Vec`; `()` for none. Numbers, booleans, texts, `Option`s, JSON values and
/// [`Bytes`](crate::Bytes) are sent as what the statement expects; times and
/// UUIDs are texts.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of parameters",
    label = "not parameters",
    note = "write `(a, b)` for two, `(a,)` for one, `()` for none"
)]
pub trait Params {
    /// A JSON array, one item for each parameter.
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
                #[expect(non_snake_case, reason = "variables are called as their types")]
                let ($($name,)+) = self;
                // Values first: one serialiser of lists for all tuples keeps plugins small.
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
