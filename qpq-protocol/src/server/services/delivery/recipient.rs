//! A recipient: which of its queues a message goes to.

use bytes::Bytes;

use crate::ids::{ChannelId, DeviceId, IdentityKey};
use crate::proto;
use crate::server::caller::Session;
use crate::server::fault::Fault;
use crate::storage::keys::QueueId;
use crate::storage::records::{DeviceSet, RegisteredDevice};

/// The queue of one registered device, under the name that clients know and where it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mailbox {
    /// Named by the device: what subscribers and waits watch.
    pub(super) named: QueueId,
    /// Where its rows are. The first device that was registered took over the queues of the default
    /// device, which stay where they are.
    pub(super) stored: QueueId,
}

impl Mailbox {
    fn new(
        recipient: IdentityKey,
        device: &RegisteredDevice,
        channel: Option<ChannelId>,
    ) -> Result<Self, Fault> {
        let id = DeviceId::from_wire(&device.device_id)
            .map_err(|_| Fault::internal("a stored row cannot be read"))?;
        let named = QueueId {
            recipient,
            device: id,
            channel,
        };
        let device = if device.default_queues {
            DeviceId::DEFAULT
        } else {
            id
        };
        Ok(Self {
            named,
            stored: QueueId { device, ..named },
        })
    }
}

/// The mailboxes of an account's registered devices, in order of device id, but for the device that
/// sends. `None` if there is no such account.
pub(super) fn mailboxes(
    recipient: IdentityKey,
    devices: Option<&DeviceSet>,
    channel: Option<ChannelId>,
    sender: Option<&Session>,
) -> Result<Option<Vec<Mailbox>>, Fault> {
    let Some(devices) = devices else {
        return Ok(None);
    };
    let mut mailboxes = Vec::with_capacity(devices.devices.len());
    for device in &devices.devices {
        let mailbox = Mailbox::new(recipient, device, channel)?;
        let sends = sender.is_some_and(|sender| {
            sender.identity_key == recipient && sender.device_id == mailbox.named.device
        });
        if !sends {
            mailboxes.push(mailbox);
        }
    }
    Ok(Some(mailboxes))
}

/// The mailbox of the session's own device, where the session may read. `device` is the device id
/// in the request: empty, or that of the session.
pub(super) fn own_mailbox(
    session: &Session,
    device: &Bytes,
    channel: Option<ChannelId>,
    devices: Option<&DeviceSet>,
) -> Result<Mailbox, Fault> {
    own_device(session, device)?;
    let mailboxes = mailboxes(session.identity_key, devices, channel, None)?.unwrap_or_default();
    let mut mine = mailboxes
        .into_iter()
        .filter(|mailbox| mailbox.named.device == session.device_id);
    mine.next()
        .ok_or_else(|| Fault::forbidden("the session's device is not registered"))
}

/// Refuses the id of another device than the session's (protocol.md §5.18).
pub(in crate::server) fn own_device(session: &Session, device: &Bytes) -> Result<(), Fault> {
    if device.is_empty() || device.as_ref() == session.device_id.as_bytes() {
        Ok(())
    } else {
        Err(Fault::forbidden("this belongs to another device"))
    }
}

/// The hint that `envelope` is in a queue; the envelope itself where it is short.
pub(super) fn news(
    channel: Option<ChannelId>,
    envelope: proto::Envelope,
    longest: usize,
) -> proto::NewMessagePush {
    proto::NewMessagePush {
        channel_id: wire_channel(channel),
        seq: envelope.seq,
        envelope: (prost::Message::encoded_len(&envelope) <= longest).then_some(envelope),
    }
}

/// A channel id as it is on the wire: empty for the default channel.
pub(super) fn wire_channel(channel: Option<ChannelId>) -> Bytes {
    channel.map_or_else(Bytes::new, |channel| {
        Bytes::copy_from_slice(channel.as_bytes())
    })
}

/// Reads a channel id whose length was checked: empty for the default channel.
pub(super) fn parse_channel(bytes: &Bytes) -> Result<Option<ChannelId>, Fault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let channel = ChannelId::try_from(bytes.as_ref());
    channel
        .map(Some)
        .map_err(|_| Fault::bad_request("channel_id has 16 bytes or none"))
}

/// Reads an identity key whose length was checked.
pub(in crate::server) fn parse_identity(bytes: &Bytes) -> Result<IdentityKey, Fault> {
    IdentityKey::try_from(bytes.as_ref())
        .map_err(|_| Fault::bad_request("an identity key has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Time, UnixTime};

    const ME: IdentityKey = IdentityKey([1; 32]);

    fn device(id: u8, default_queues: bool) -> RegisteredDevice {
        RegisteredDevice {
            device_id: vec![id; 16].into(),
            default_queues,
            ..RegisteredDevice::default()
        }
    }

    fn session(device_id: DeviceId) -> Session {
        Session {
            identity_key: ME,
            device_id,
            token_hash: [0; 32],
            registered: true,
            login_at: UnixTime::default(),
            checked_at: Time::ZERO,
        }
    }

    fn devices() -> Option<DeviceSet> {
        Some(DeviceSet {
            devices: vec![device(3, true), device(5, false)],
        })
    }

    fn named(boxes: Result<Option<Vec<Mailbox>>, Fault>) -> Vec<DeviceId> {
        let boxes = boxes.ok().flatten().unwrap_or_default();
        boxes.iter().map(|one| one.named.device).collect()
    }

    #[test]
    fn the_sending_device_is_left_out_and_nobody_else() {
        let (three, five) = (DeviceId::new([3; 16]), DeviceId::new([5; 16]));
        let sender = session(three);
        assert_eq!(
            named(mailboxes(ME, devices().as_ref(), None, Some(&sender))),
            [five]
        );
        assert_eq!(
            named(mailboxes(ME, devices().as_ref(), None, None)),
            [three, five]
        );
        let other = IdentityKey([2; 32]);
        let to_other = mailboxes(other, devices().as_ref(), None, Some(&sender));
        assert_eq!(named(to_other), [three, five]);
        assert_eq!(mailboxes(ME, None, None, None), Ok(None));
    }

    #[test]
    fn the_first_registered_device_reads_the_queues_of_the_default_one() {
        let empty = Bytes::new();
        let first = own_mailbox(
            &session(DeviceId::new([3; 16])),
            &empty,
            None,
            devices().as_ref(),
        );
        assert_eq!(
            first.map(|first| first.stored.device),
            Ok(DeviceId::DEFAULT)
        );
        let second = own_mailbox(
            &session(DeviceId::new([5; 16])),
            &empty,
            None,
            devices().as_ref(),
        );
        let five = DeviceId::new([5; 16]);
        assert_eq!(second.map(|second| second.stored.device), Ok(five));
    }

    #[test]
    fn another_device_is_forbidden() {
        let session = session(DeviceId::new([5; 16]));
        let other = Bytes::copy_from_slice(&[3; 16]);
        assert!(own_mailbox(&session, &other, None, devices().as_ref()).is_err());
        let mine = Bytes::copy_from_slice(&[5; 16]);
        assert!(own_mailbox(&session, &mine, None, devices().as_ref()).is_ok());
    }
}
