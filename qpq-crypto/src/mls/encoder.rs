//! Values as postcard, with lists of bytes written whole.
//!
//! serde hands over a `Vec<u8>` as a sequence of numbers. Most of what openmls stores are such lists, and
//! byte by byte they took longer than the cryptography of a message in a large group. Here a list whose
//! items are bytes is copied at once, and a number below 128 is one push. The format is postcard's.

use postcard::{Error, Result, Serializer, ser_flavors::Flavor};
use serde::{Serialize, ser};

use super::as_byte::AsByte;

/// What a value is written into.
pub(super) trait Room: Flavor {
    /// Appends the `len` bytes that there are.
    fn extend_exactly(&mut self, len: usize, bytes: impl Iterator<Item = u8>);
}

/// Appends `value` to `room`.
pub(super) fn encode<R: Room>(value: &impl Serialize, room: R) -> Result<R> {
    let mut postcard = Serializer { output: room };
    value.serialize(Encoder(&mut postcard))?;
    Ok(postcard.output)
}

/// Appends a value to `bytes`, which are not wiped, as a [`Device`](super::Device) encodes what it stores.
/// `None` if the value has a list whose length it does not say, or one of which only some items are bytes.
pub fn encode_plain(value: &impl Serialize, bytes: Vec<u8>) -> Option<Vec<u8>> {
    Some(encode(value, Plain(bytes)).ok()?.0)
}

/// Bytes that are not wiped.
struct Plain(Vec<u8>);

impl Flavor for Plain {
    type Output = Vec<u8>;

    #[inline]
    fn try_push(&mut self, byte: u8) -> Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> Result<Vec<u8>> {
        Ok(self.0)
    }
}

impl Room for Plain {
    #[inline]
    fn extend_exactly(&mut self, len: usize, bytes: impl Iterator<Item = u8>) {
        self.0.reserve(len);
        self.0.extend(bytes.take(len));
    }
}

/// Of a value and of each part of one.
struct Encoder<'a, R: Flavor>(&'a mut Serializer<R>);

impl<R: Room> Encoder<'_, R> {
    /// The same place, for a part.
    fn part(&mut self) -> Encoder<'_, R> {
        Encoder(self.0)
    }
}

/// What postcard writes as it stands.
macro_rules! scalars {
    ($($serialize:ident: $Scalar:ty;)*) => {$(
        #[inline]
        fn $serialize(self, value: $Scalar) -> Result<()> {
            self.0.$serialize(value)
        }
    )*};
}

impl<'a, R: Room> ser::Serializer for Encoder<'a, R> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Encoder<'a, R>;
    type SerializeTuple = Encoder<'a, R>;
    type SerializeTupleStruct = Encoder<'a, R>;
    type SerializeTupleVariant = Encoder<'a, R>;
    type SerializeMap = Encoder<'a, R>;
    type SerializeStruct = Encoder<'a, R>;
    type SerializeStructVariant = Encoder<'a, R>;

    scalars! {
        serialize_bool: bool;
        serialize_i8: i8;
        serialize_i16: i16;
        serialize_i32: i32;
        serialize_i64: i64;
        serialize_i128: i128;
        serialize_u8: u8;
        serialize_u128: u128;
        serialize_f32: f32;
        serialize_f64: f64;
        serialize_char: char;
        serialize_str: &str;
        serialize_bytes: &[u8];
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }

    // A number is written alike whatever its type.

    #[inline]
    fn serialize_u16(self, value: u16) -> Result<()> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u32(self, value: u32) -> Result<()> {
        self.serialize_u64(value.into())
    }

    #[inline]
    fn serialize_u64(self, value: u64) -> Result<()> {
        match u8::try_from(value) {
            Ok(byte @ ..0x80) => self.0.output.try_push(byte),
            _ => self.0.serialize_u64(value),
        }
    }

    #[inline]
    fn serialize_none(self) -> Result<()> {
        self.0.serialize_none()
    }

    #[inline]
    fn serialize_some<T: ?Sized + Serialize>(mut self, value: &T) -> Result<()> {
        self.part().serialize_u8(1)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Result<()> {
        self.serialize_u32(index)
    }

    #[inline]
    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        mut self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Result<()> {
        self.part().serialize_u32(index)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(mut self, len: Option<usize>) -> Result<Self> {
        let len = len.ok_or(Error::SerializeSeqLengthUnknown)?;
        let len = u64::try_from(len).map_err(|_| Error::SerializeBufferFull)?;
        self.part().serialize_u64(len)?;
        Ok(self)
    }

    #[inline]
    fn serialize_tuple(self, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(
        mut self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self> {
        self.part().serialize_u32(index)?;
        Ok(self)
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self> {
        self.serialize_seq(len)
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(
        mut self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self> {
        self.part().serialize_u32(index)?;
        Ok(self)
    }

    #[inline]
    fn collect_seq<I>(self, items: I) -> Result<()>
    where
        I: IntoIterator<Item: Serialize>,
    {
        let mut items = items.into_iter();
        let (least, most) = items.size_hint();
        let mut list = self.serialize_seq(most.filter(|most| *most == least))?;
        let Some(first) = items.next() else {
            return Ok(());
        };
        // Their type decides it, so that the compiler leaves one of these.
        let Ok(byte) = first.serialize(AsByte) else {
            first.serialize(list.part())?;
            return items.try_for_each(|item| item.serialize(list.part()));
        };
        let mut alike = true;
        let rest = items.map(|item| {
            item.serialize(AsByte).unwrap_or_else(|_| {
                alike = false;
                0
            })
        });
        list.0.output.try_push(byte)?;
        list.0.output.extend_exactly(least.saturating_sub(1), rest);
        if alike {
            Ok(())
        } else {
            Err(Error::WontImplement)
        }
    }

    fn collect_str<T: ?Sized + std::fmt::Display>(self, value: &T) -> Result<()> {
        self.0.collect_str(value)
    }
}

macro_rules! compounds {
    ($($Compound:ident: $($part:ident($($key:ident)?)),+;)*) => {$(
        impl<R: Room> ser::$Compound for Encoder<'_, R> {
            type Ok = ();
            type Error = Error;

            $(#[inline]
            fn $part<T: ?Sized + Serialize>(
                &mut self,
                $($key: &'static str,)?
                value: &T,
            ) -> Result<()> {
                value.serialize(self.part())
            })+

            #[inline]
            fn end(self) -> Result<()> {
                Ok(())
            }
        }
    )*};
}

compounds! {
    SerializeSeq: serialize_element();
    SerializeTuple: serialize_element();
    SerializeTupleStruct: serialize_field();
    SerializeTupleVariant: serialize_field();
    SerializeMap: serialize_key(), serialize_value();
    SerializeStruct: serialize_field(_name);
    SerializeStructVariant: serialize_field(_name);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Serialize, Serializer};

    use super::{encode, encode_plain};
    use crate::mls::value::Value;

    #[derive(Serialize)]
    struct Unit;

    #[derive(Serialize)]
    struct Wrapped(Vec<u8>);

    #[derive(Serialize)]
    struct Pair(u8, Vec<u8>);

    #[derive(Serialize)]
    enum Choice {
        Unit,
        Wrapped(Vec<u8>),
        Pair(u16, i64),
        Named { bytes: Vec<u8>, text: String },
    }

    #[derive(Serialize)]
    struct Everything {
        numbers: (u8, u16, u32, u64, u128, usize),
        signed: (i8, i16, i32, i64, i128),
        others: (bool, f32, f64, char, (), Unit),
        texts: Vec<String>,
        bytes: Vec<u8>,
        lists: Vec<Vec<u8>>,
        array: [u8; 32],
        maps: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
        wrapped: Vec<Wrapped>,
        pairs: Vec<Pair>,
        signed_bytes: Vec<i8>,
        flags: Vec<bool>,
        choices: Vec<Choice>,
        time: std::time::SystemTime,
    }

    fn everything(len: usize) -> Everything {
        let bytes: Vec<u8> = (0..len).map(|n| n.to_le_bytes()[0]).collect();
        let at_most = |bits: u32| len.checked_shl(bits).unwrap_or(usize::MAX) as u64;
        Everything {
            numbers: (
                bytes.len().to_le_bytes()[0],
                u16::try_from(len).unwrap_or(u16::MAX),
                u32::try_from(len << 8).unwrap_or(u32::MAX),
                at_most(40),
                u128::MAX >> len.min(127),
                len,
            ),
            signed: (-1, i16::MIN, i32::MAX, -(len as i64), i128::MIN),
            others: (len.is_multiple_of(2), 1.5, -0.25, 'ß', (), Unit),
            texts: vec![String::new(), "a".repeat(len)],
            lists: vec![bytes.clone(), Vec::new(), vec![255], bytes.clone()],
            array: [len.to_le_bytes()[0]; 32],
            maps: [(bytes.clone(), None), (vec![1], Some(bytes.clone()))].into(),
            wrapped: vec![Wrapped(bytes.clone()), Wrapped(Vec::new())],
            pairs: vec![Pair(7, bytes.clone())],
            signed_bytes: vec![-128, 0, 127],
            flags: vec![true, false],
            choices: vec![
                Choice::Unit,
                Choice::Wrapped(bytes.clone()),
                Choice::Pair(u16::MAX, i64::MIN),
                Choice::Named {
                    bytes: bytes.clone(),
                    text: "text".to_owned(),
                },
            ],
            time: std::time::UNIX_EPOCH + std::time::Duration::from_millis(at_most(20)),
            bytes,
        }
    }

    #[test]
    fn everything_is_what_postcard_writes() {
        for len in [0, 1, 2, 127, 128, 129, 255, 256, 300, 20_000] {
            let value = everything(len);
            let expected = postcard::to_allocvec(&value).unwrap();
            assert_eq!(encode_plain(&value, Vec::new()).unwrap(), expected);
            for room in [0, 1, expected.len() - 1, expected.len()] {
                let encoded = encode(&value, Value::with_capacity(room)).unwrap();
                assert_eq!(&*encoded, expected.as_slice(), "{len} in {room}");
            }
        }
    }

    /// Whose form its content decides.
    struct Chameleon(Option<u8>);

    impl Serialize for Chameleon {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 {
                Some(byte) => serializer.serialize_u8(byte),
                None => serializer.serialize_str("none"),
            }
        }
    }

    #[test]
    fn a_list_that_is_only_partly_bytes_is_never_written_wrongly() {
        let text_first = [Chameleon(None), Chameleon(Some(1))];
        let expected = postcard::to_allocvec(text_first.as_slice()).unwrap();
        let encoded = encode(&text_first.as_slice(), Value::default()).unwrap();
        assert_eq!(&*encoded, expected.as_slice());
        let byte_first = [Chameleon(Some(1)), Chameleon(None)];
        assert!(encode(&byte_first.as_slice(), Value::default()).is_err());
    }
}
