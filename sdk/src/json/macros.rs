//! `json!`: the macro of serde_json, except for NaN and infinities.

use serde::Serialize;
use serde_json::Value;

/// Builds a [`serde_json::Value`] from JSON syntax:
/// `json!({ "id": id, "tags": ["a", "b"] })`. The syntax is that of
/// [`serde_json::json!`].
///
/// # Panics
/// If an expression cannot be written as JSON: a map whose keys are not strings,
/// or NaN and infinities, which [`serde_json::json!`] converts to `null`.
#[macro_export]
macro_rules! json {
    ($($json:tt)+) => { $crate::__json!($($json)+) };
}

/// The value of an expression inside `json!`.
#[doc(hidden)]
#[track_caller]
pub fn expression<T: Serialize + ?Sized>(value: &T) -> Value {
    match super::value(value) {
        Ok(value) => value,
        Err(fault) => panic!("json!: {fault}"),
    }
}

/// Parses JSON token by token, as the macro of serde_json does.
#[doc(hidden)]
#[macro_export]
macro_rules! __json {
    // Items of an array: the parsed ones, then the rest.
    (@array [$($done:expr,)*]) => { ::std::vec![$($done,)*] };
    (@array [$($done:expr),*]) => { ::std::vec![$($done),*] };
    (@array [$($done:expr,)*] null $($rest:tt)*) => {
        $crate::__json!(@array [$($done,)* $crate::__json!(null)] $($rest)*)
    };
    (@array [$($done:expr,)*] [$($array:tt)*] $($rest:tt)*) => {
        $crate::__json!(@array [$($done,)* $crate::__json!([$($array)*])] $($rest)*)
    };
    (@array [$($done:expr,)*] {$($map:tt)*} $($rest:tt)*) => {
        $crate::__json!(@array [$($done,)* $crate::__json!({$($map)*})] $($rest)*)
    };
    (@array [$($done:expr,)*] $next:expr, $($rest:tt)*) => {
        $crate::__json!(@array [$($done,)* $crate::__json!($next),] $($rest)*)
    };
    (@array [$($done:expr,)*] $last:expr) => {
        $crate::__json!(@array [$($done,)* $crate::__json!($last)])
    };
    (@array [$($done:expr),*] , $($rest:tt)*) => {
        $crate::__json!(@array [$($done,)*] $($rest)*)
    };

    // Entries of an object: the key so far, the rest, and a copy of the rest for errors.
    (@object $object:ident () () ()) => {};
    (@object $object:ident [$($key:tt)+] ($value:expr) , $($rest:tt)*) => {
        let _ = $object.insert(($($key)+).into(), $value);
        $crate::__json!(@object $object () ($($rest)*) ($($rest)*));
    };
    (@object $object:ident [$($key:tt)+] ($value:expr)) => {
        let _ = $object.insert(($($key)+).into(), $value);
    };
    (@object $object:ident ($($key:tt)+) (: null $($rest:tt)*) $copy:tt) => {
        $crate::__json!(@object $object [$($key)+] ($crate::__json!(null)) $($rest)*);
    };
    (@object $object:ident ($($key:tt)+) (: [$($array:tt)*] $($rest:tt)*) $copy:tt) => {
        $crate::__json!(@object $object [$($key)+] ($crate::__json!([$($array)*])) $($rest)*);
    };
    (@object $object:ident ($($key:tt)+) (: {$($map:tt)*} $($rest:tt)*) $copy:tt) => {
        $crate::__json!(@object $object [$($key)+] ($crate::__json!({$($map)*})) $($rest)*);
    };
    (@object $object:ident ($($key:tt)+) (: $value:expr , $($rest:tt)*) $copy:tt) => {
        $crate::__json!(@object $object [$($key)+] ($crate::__json!($value)) , $($rest)*);
    };
    (@object $object:ident ($($key:tt)+) (: $value:expr) $copy:tt) => {
        $crate::__json!(@object $object [$($key)+] ($crate::__json!($value)));
    };
    (@object $object:ident () (($key:expr) : $($rest:tt)*) $copy:tt) => {
        $crate::__json!(@object $object ($key) (: $($rest)*) (: $($rest)*));
    };
    (@object $object:ident ($($key:tt)*) ($token:tt $($rest:tt)*) $copy:tt) => {
        $crate::__json!(@object $object ($($key)* $token) ($($rest)*) ($($rest)*));
    };

    (null) => { $crate::serde_json::Value::Null };
    ([]) => { $crate::serde_json::Value::Array(::std::vec![]) };
    ([ $($items:tt)+ ]) => {
        $crate::serde_json::Value::Array($crate::__json!(@array [] $($items)+))
    };
    ({}) => { $crate::serde_json::Value::Object($crate::serde_json::Map::new()) };
    ({ $($entries:tt)+ }) => {
        $crate::serde_json::Value::Object({
            let mut object = $crate::serde_json::Map::new();
            $crate::__json!(@object object () ($($entries)+) ($($entries)+));
            object
        })
    };
    ($other:expr) => { $crate::__private::expression(&$other) };
}
