//! From a payload to a message: counted first, then decoded, then validated.
//!
//! Two bytes on the wire (`0a 00`) can become a hundred in memory, so a frame full of them would
//! take a hundred times its size. A walk over the top-level fields bounds their number before
//! anything is allocated, and that of numbers packed into one; the few messages inside others that
//! hold lists are counted where they lie.

use bytes::Bytes;
use prost::Message;

use crate::method::{Method, Rpc};
use crate::proto::{
    AppMessage, Chain, DeliveryPayload, ErrorDetail, ForkReport, PushEvent, app_message,
};
use crate::validate::{FieldError, SPARE_FIELDS, Validate};

/// Most fields of a response, each item of a list counted; a server splits longer answers.
pub const MAX_RESPONSE_FIELDS: usize = 16 * 1024;
/// Most messages that one read receipt names.
pub const MAX_READ: usize = 1000;

/// A payload that is not the message it should be: a request's is answered
/// [`crate::status::Status::BadRequest`] with this sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Send the protobuf message that belongs to the method.
    #[error("the payload is not the message that belongs here")]
    Malformed,
    /// Split the request.
    #[error("the payload has more than {max} fields")]
    TooManyFields {
        /// The most that are allowed.
        max: usize,
    },
    /// Correct the field.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Decodes a request and checks its fields.
pub fn decode_request<M: Rpc>(payload: Bytes) -> Result<M::Request, DecodeError> {
    if let Some(chain) = chain(M::METHOD) {
        count_inside(&payload, chain, Chain::MAX_FIELDS)?;
    }
    let request: M::Request = decode(payload, M::Request::MAX_FIELDS)?;
    request.validate()?;
    Ok(request)
}

/// The number of the field that holds a chain of openings: a list inside a request, for every caller.
const fn chain(method: Method) -> Option<u32> {
    match method {
        Method::OpaqueLoginFinish => Some(5),
        Method::ResumeSession => Some(2),
        _ => None,
    }
}

/// Decodes the response to a request that ended well.
pub fn decode_response<M: Rpc>(payload: Bytes) -> Result<M::Response, DecodeError> {
    let max = MAX_RESPONSE_FIELDS;
    count(&payload, max)?;
    let lists = packed_fields(M::METHOD);
    let lists = fields(&payload).filter(|field| match field {
        Ok(field) => lists.contains(&field.number),
        Err(_) => false,
    });
    // Of each number the last byte has no mark that another follows.
    let numbers = |content: &[u8]| content.iter().filter(|byte| **byte < 0x80).count();
    if lists
        .flatten()
        .map(|list| numbers(list.content))
        .sum::<usize>()
        > max
    {
        return Err(DecodeError::TooManyFields { max });
    }
    M::Response::decode(payload).map_err(|_| DecodeError::Malformed)
}

/// The fields of a response that hold a list of numbers in one, whose bytes become eight times as
/// many in memory.
fn packed_fields(method: Method) -> &'static [u32] {
    match method {
        Method::BatchEnqueue => &[1, 4],
        Method::FetchHybridKeys | Method::GetServerInfo => &[3],
        _ => &[],
    }
}

/// Decodes the payload of a response whose status is not `Ok`. One that is broken reads as empty,
/// since the status says enough.
#[must_use]
pub fn decode_error(payload: Bytes) -> ErrorDetail {
    decode(payload, SPARE_FIELDS).unwrap_or_default()
}

/// Decodes a push. `event` is `None` for an event that this version does not know.
pub fn decode_push(payload: Bytes) -> Result<PushEvent, DecodeError> {
    decode(payload, SPARE_FIELDS)
}

/// Decodes the content of an envelope. `payload` is `None` for one that this version does not know.
pub fn decode_delivery(data: Bytes) -> Result<DeliveryPayload, DecodeError> {
    decode(data, SPARE_FIELDS)
}

/// Decodes what another device encrypted. `body` is `None` for one that this version does not know.
pub fn decode_app(plaintext: Bytes) -> Result<AppMessage, DecodeError> {
    const READ_RECEIPT: u32 = 4;
    count_inside(&plaintext, READ_RECEIPT, MAX_READ + SPARE_FIELDS)?;
    let message: AppMessage = decode(plaintext, SPARE_FIELDS)?;
    if let Some(app_message::Body::ReadReceipt(receipt)) = &message.body
        && receipt.message_ids.len() > MAX_READ
    {
        return Err(DecodeError::TooManyFields { max: MAX_READ });
    }
    Ok(message)
}

/// Decodes what a member sealed about its state of a group.
pub fn decode_fork_report(content: Bytes) -> Result<ForkReport, DecodeError> {
    decode(content, SPARE_FIELDS)
}

fn decode<T: Message + Default>(payload: Bytes, max: usize) -> Result<T, DecodeError> {
    count(&payload, max)?;
    T::decode(payload).map_err(|_| DecodeError::Malformed)
}

/// Fails if an encoding has more than `max` fields at its top level.
fn count(payload: &[u8], max: usize) -> Result<(), DecodeError> {
    for (index, field) in fields(payload).enumerate() {
        field?;
        if index >= max {
            return Err(DecodeError::TooManyFields { max });
        }
    }
    Ok(())
}

/// Fails if the message in the field `number` has more than `max` fields.
fn count_inside(payload: &[u8], number: u32, max: usize) -> Result<(), DecodeError> {
    for field in fields(payload) {
        let field = field?;
        if field.number == number {
            count(field.content, max)?;
        }
    }
    Ok(())
}

/// One field of an encoding.
struct WireField<'a> {
    number: u32,
    /// The bytes of a length-delimited field; empty for numbers.
    content: &'a [u8],
}

/// The top-level fields of an encoding. Groups are malformed: proto3 has none.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<WireField<'_>, DecodeError>> {
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next_field(&mut rest).ok_or(DecodeError::Malformed);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Option<WireField<'a>> {
    let key = u32::try_from(varint(rest)?).ok()?;
    let number = key >> 3;
    let len = match key & 7 {
        0 => {
            varint(rest)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(len)?;
    *rest = after;
    (number != 0).then_some(WireField { number, content })
}

/// A base-128 varint of at most ten bytes.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        // The tenth byte holds one bit.
        if shift == 63 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests;
