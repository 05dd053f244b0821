//! Whether a value is a byte, and which: decided by its type, so that it costs nothing at run time.

use postcard::{Error, Result};
use serde::{
    Serialize,
    ser::{self, Impossible},
};

/// Gives back a `u8`, and of anything else an error.
pub(super) struct AsByte;

macro_rules! no_bytes {
    ($($serialize:ident$(<$T:ident>)?($($Argument:ty),*) -> $Result:ty;)*) => {$(
        #[inline]
        fn $serialize$(<$T: ?Sized + Serialize>)?(self, $(_: $Argument),*) -> Result<$Result> {
            Err(Error::WontImplement)
        }
    )*};
}

type Never = Impossible<u8, Error>;

impl ser::Serializer for AsByte {
    type Ok = u8;
    type Error = Error;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    #[inline]
    fn serialize_u8(self, byte: u8) -> Result<u8> {
        Ok(byte)
    }

    no_bytes! {
        serialize_bool(bool) -> u8;
        serialize_i8(i8) -> u8;
        serialize_i16(i16) -> u8;
        serialize_i32(i32) -> u8;
        serialize_i64(i64) -> u8;
        serialize_u16(u16) -> u8;
        serialize_u32(u32) -> u8;
        serialize_u64(u64) -> u8;
        serialize_f32(f32) -> u8;
        serialize_f64(f64) -> u8;
        serialize_char(char) -> u8;
        serialize_str(&str) -> u8;
        serialize_bytes(&[u8]) -> u8;
        serialize_none() -> u8;
        serialize_some<T>(&T) -> u8;
        serialize_unit() -> u8;
        serialize_unit_struct(&'static str) -> u8;
        serialize_unit_variant(&'static str, u32, &'static str) -> u8;
        serialize_newtype_struct<T>(&'static str, &T) -> u8;
        serialize_newtype_variant<T>(&'static str, u32, &'static str, &T) -> u8;
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }

    fn collect_str<T: ?Sized + std::fmt::Display>(self, _: &T) -> Result<u8> {
        Err(Error::WontImplement)
    }
}
