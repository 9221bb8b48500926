//! A serializer that wraps another one and rejects NaN and infinities.
//!
//! It adds no pass over the value. The path to the number is recorded only while
//! the error is returned.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Value;

use super::fault::Trail;
use crate::bytes::{self, BYTES};

/// How `Bytes` are written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum BytesAs {
    /// In JSON.
    Base64,
    /// As a statement parameter: the hex format of Postgres for `bytea`.
    Hex,
    /// The next string is the base64 of bytes to be written in hex.
    HexNow,
}

/// The rules for a value and everything inside it.
#[derive(Clone, Copy)]
pub(super) struct Rules<'t> {
    trail: &'t Trail,
    bytes: BytesAs,
}

impl<'t> Rules<'t> {
    pub(super) fn new(trail: &'t Trail, bytes: BytesAs) -> Self {
        Rules { trail, bytes }
    }

    /// Inside an object, bytes are base64: only the object is a parameter.
    fn inside_object(self) -> Self {
        Rules {
            bytes: BytesAs::Base64,
            ..self
        }
    }
}

/// A value that serializes itself through a [`Checker`].
pub(super) struct Checked<'a, T: ?Sized> {
    value: &'a T,
    rules: Rules<'a>,
}

impl<'a, T: ?Sized> Checked<'a, T> {
    pub(super) fn new(value: &'a T, rules: Rules<'a>) -> Self {
        Checked { value, rules }
    }
}

impl<T: Serialize + ?Sized> Serialize for Checked<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Checker::new(serializer, self.rules))
    }
}

/// A wrapped serializer, or a wrapped part of one.
pub(super) struct Checker<'t, S> {
    inner: S,
    rules: Rules<'t>,
    /// Number of list items so far.
    count: usize,
}

impl<'t, S> Checker<'t, S> {
    pub(super) fn new(inner: S, rules: Rules<'t>) -> Self {
        Checker {
            inner,
            rules,
            count: 0,
        }
    }

    fn check<E: serde::ser::Error>(&self, number: f64) -> Result<(), E> {
        if number.is_finite() {
            return Ok(());
        }
        let name = match number {
            n if n.is_nan() => "NaN",
            n if n > 0.0 => "infinity",
            _ => "-infinity",
        };
        self.rules.trail.number(name);
        Err(E::custom("not a JSON number"))
    }

    /// Passes one item of a list or tuple to `add`.
    fn item<'a, T: ?Sized, R, E>(
        &mut self,
        value: &'a T,
        add: impl FnOnce(&mut S, &Checked<'a, T>) -> Result<R, E>,
    ) -> Result<R, E>
    where
        't: 'a,
    {
        let index = self.count;
        self.count += 1;
        add(&mut self.inner, &Checked::new(value, self.rules))
            .inspect_err(|_| self.rules.trail.item(index))
    }

    /// Passes one field to `add`.
    fn field<'a, T: ?Sized, R, E>(
        &mut self,
        name: &str,
        value: &'a T,
        add: impl FnOnce(&mut S, &Checked<'a, T>) -> Result<R, E>,
    ) -> Result<R, E>
    where
        't: 'a,
    {
        add(&mut self.inner, &Checked::new(value, self.rules))
            .inspect_err(|_| self.rules.trail.field(name))
    }
}

macro_rules! pass_on {
    ($($method:ident($($name:ident: $type:ty),*))+) => {$(
        fn $method(self, $($name: $type),*) -> Result<S::Ok, S::Error> {
            self.inner.$method($($name),*)
        }
    )+};
}

macro_rules! begin {
    ($($method:ident($($name:ident: $type:ty),*) -> $part:ident $(, $inside:ident)?;)+) => {$(
        fn $method(self, $($name: $type),*) -> Result<Self::$part, S::Error> {
            let rules = self.rules$(.$inside())?;
            Ok(Checker::new(self.inner.$method($($name),*)?, rules))
        }
    )+};
}

impl<'t, S: Serializer> Serializer for Checker<'t, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Checker<'t, S::SerializeSeq>;
    type SerializeTuple = Checker<'t, S::SerializeTuple>;
    type SerializeTupleStruct = Checker<'t, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Checker<'t, S::SerializeTupleVariant>;
    type SerializeMap = Checker<'t, S::SerializeMap>;
    type SerializeStruct = Checker<'t, S::SerializeStruct>;
    type SerializeStructVariant = Checker<'t, S::SerializeStructVariant>;

    pass_on! {
        serialize_bool(v: bool)
        serialize_i8(v: i8) serialize_i16(v: i16) serialize_i32(v: i32) serialize_i64(v: i64)
        serialize_u8(v: u8) serialize_u16(v: u16) serialize_u32(v: u32) serialize_u64(v: u64)
        serialize_i128(v: i128) serialize_u128(v: u128)
        serialize_char(v: char) serialize_bytes(v: &[u8])
        serialize_none() serialize_unit() serialize_unit_struct(name: &'static str)
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str)
    }

    fn serialize_f32(self, number: f32) -> Result<S::Ok, S::Error> {
        self.check(f64::from(number))?;
        self.inner.serialize_f32(number)
    }

    fn serialize_f64(self, number: f64) -> Result<S::Ok, S::Error> {
        self.check(number)?;
        self.inner.serialize_f64(number)
    }

    fn serialize_str(self, text: &str) -> Result<S::Ok, S::Error> {
        if self.rules.bytes != BytesAs::HexNow {
            return self.inner.serialize_str(text);
        }
        match bytes::from_base64(text) {
            Some(bytes) => self.inner.serialize_str(&bytes::to_hex(&bytes)),
            None => Err(S::Error::custom("bytes that are not base64")),
        }
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, text: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(text)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.serialize_some(&Checked::new(value, self.rules))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let mut rules = self.rules;
        if rules.bytes == BytesAs::Hex && name == BYTES {
            rules.bytes = BytesAs::HexNow;
        }
        let value = Checked::new(value, rules);
        self.inner.serialize_newtype_struct(name, &value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let trail = self.rules.trail;
        let value = Checked::new(value, self.rules.inside_object());
        self.inner
            .serialize_newtype_variant(name, index, variant, &value)
            .inspect_err(|_| trail.field(variant))
    }

    begin! {
        serialize_seq(len: Option<usize>) -> SerializeSeq;
        serialize_tuple(len: usize) -> SerializeTuple;
        serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        serialize_tuple_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeTupleVariant, inside_object;
        serialize_map(len: Option<usize>) -> SerializeMap, inside_object;
        serialize_struct(name: &'static str, len: usize) -> SerializeStruct, inside_object;
        serialize_struct_variant(
            name: &'static str, index: u32, variant: &'static str, len: usize
        ) -> SerializeStructVariant, inside_object;
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! lists {
    ($($trait:ident $method:ident)+) => {$(
        impl<S: $trait> $trait for Checker<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                self.item(value, |inner, value| inner.$method(value))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )+};
}

lists! {
    SerializeSeq serialize_element
    SerializeTuple serialize_element
    SerializeTupleStruct serialize_field
    SerializeTupleVariant serialize_field
}

macro_rules! structs {
    ($($trait:ident)+) => {$(
        impl<S: $trait> $trait for Checker<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                self.field(name, value, |inner, value| inner.serialize_field(name, value))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )+};
}

structs! { SerializeStruct SerializeStructVariant }

impl<S: SerializeMap> SerializeMap for Checker<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.field("(a key)", key, |inner, key| inner.serialize_key(key))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.field("(a value)", value, |inner, value| {
            inner.serialize_value(value)
        })
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), S::Error> {
        self.serialize_key(key)?;
        let value = Checked::new(value, self.rules);
        self.inner
            .serialize_value(&value)
            .inspect_err(|_| self.rules.trail.field(&shown(key)))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

/// A key for messages: strings without quotes.
#[cold]
fn shown<K: Serialize + ?Sized>(key: &K) -> String {
    match serde_json::to_value(key) {
        Ok(Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => "(a value)".to_owned(),
    }
}
