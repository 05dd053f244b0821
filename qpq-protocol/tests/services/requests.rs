//! The requests that these tests send, with what they do not care about filled in.

use bytes::Bytes;
use qpq_protocol::ids::ConnId;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::Status;

use crate::support::account::User;
use crate::support::{Refused, World};

/// A message id that stands for a number.
pub fn message_id(number: u64) -> Bytes {
    let mut id = [0x77; 16];
    id[8..].copy_from_slice(&number.to_be_bytes());
    Bytes::copy_from_slice(&id)
}

/// A group's channel id that stands for a number.
pub fn channel_id(number: u8) -> Bytes {
    let mut id = [number; 16];
    id[6] = 0x70;
    id[8] = 0x80;
    Bytes::copy_from_slice(&id)
}

/// A message into the default channel.
pub fn message(to: &User, number: u64, payload: &'static [u8]) -> proto::EnqueueRequest {
    proto::EnqueueRequest {
        recipient_key: to.key(),
        payload: Bytes::from_static(payload),
        message_id: message_id(number),
        ..proto::EnqueueRequest::default()
    }
}

/// The same message into a channel.
pub fn in_channel(
    channel: &Bytes,
    slot: u64,
    message: proto::EnqueueRequest,
) -> proto::EnqueueRequest {
    proto::EnqueueRequest {
        channel_id: channel.clone(),
        channel_slot: Some(slot),
        ..message
    }
}

/// Reads a queue from the start.
pub fn fetch_all(
    world: &mut World,
    conn: ConnId,
    user: &User,
    channel: &Bytes,
) -> proto::FetchResponse {
    let request = proto::FetchRequest {
        recipient_key: user.key(),
        channel_id: channel.clone(),
        ..proto::FetchRequest::default()
    };
    world.call::<rpc::Fetch>(conn, &request).expect("a page")
}

/// The payloads of a page, as seq and text.
pub fn payloads(page: &proto::FetchResponse) -> Vec<(u64, Vec<u8>)> {
    let envelopes = page.payloads.iter();
    envelopes
        .map(|envelope| (envelope.seq, envelope.data.to_vec()))
        .collect()
}

/// Acknowledges up to and including this seq.
pub fn ack(
    world: &mut World,
    conn: ConnId,
    user: &User,
    channel: &Bytes,
    seq_up_to: u64,
) -> Result<(), Refused> {
    let request = proto::AckRequest {
        recipient_key: user.key(),
        channel_id: channel.clone(),
        seq_up_to,
        device_id: Bytes::new(),
    };
    world.call::<rpc::Ack>(conn, &request).map(|_| ())
}

/// Opens a group of these users.
pub fn create_group(world: &mut World, conn: ConnId, number: u8, members: &[&User]) -> Bytes {
    let request = proto::CreateChannelRequest {
        channel_id: channel_id(number),
        member_keys: members.iter().map(|member| member.key()).collect(),
        metadata: Bytes::from_static(b"sealed name"),
        ..proto::CreateChannelRequest::default()
    };
    let created = world.call::<rpc::CreateChannel>(conn, &request);
    let created = created.expect("a channel");
    assert!(created.was_new);
    created.channel_id
}

/// A commit for a slot that changes nothing else.
pub fn commit(channel: &Bytes, slot: u64, bytes: &'static [u8]) -> proto::SubmitCommitRequest {
    proto::SubmitCommitRequest {
        channel_id: channel.clone(),
        slot,
        commit: Bytes::from_static(bytes),
        message_id: message_id(1_000_000 + slot),
        group_info: Bytes::from_static(b"group info"),
        ..proto::SubmitCommitRequest::default()
    }
}

/// The status of a refusal.
pub fn status<T: core::fmt::Debug>(result: Result<T, Refused>) -> Status {
    result.expect_err("a refusal").status
}
