//! What an MLSMessage says of itself to anyone who has no key (RFC 9420 section 6).

/// The head of a message of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::client) struct Framing<'a> {
    pub(in crate::client) group_id: &'a [u8],
    pub(in crate::client) epoch: u64,
    pub(in crate::client) content: Content,
}

/// What it carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::client) enum Content {
    Application,
    Proposal,
    Commit,
    /// The commit by which somebody lets himself in.
    ExternalCommit,
}

/// The head of an encrypted message, or of one that is not: that is taken only in a slot, where it is judged
/// as a commit or as nothing. `None` for anything else.
pub(in crate::client) fn framing(message: &[u8]) -> Option<Framing<'_>> {
    let (version_and_format, rest) = message.split_first_chunk::<4>()?;
    let (group_id, rest) = vector(rest)?;
    let (epoch, rest) = rest.split_first_chunk::<8>()?;
    // Behind the epoch stands what is in it, or who sends it.
    let next = *rest.first()?;
    let content = match (version_and_format, next) {
        // Version mls10, wire format PrivateMessage: its content type.
        ([0, 1, 0, 2], 1) => Content::Application,
        ([0, 1, 0, 2], 2) => Content::Proposal,
        ([0, 1, 0, 2], 3) => Content::Commit,
        // PublicMessage: its sender, here one who is no member yet.
        ([0, 1, 0, 1], 4) => Content::ExternalCommit,
        ([0, 1, 0, 1], _) => Content::Commit,
        _ => return None,
    };
    Some(Framing {
        group_id,
        epoch: u64::from_be_bytes(*epoch),
        content,
    })
}

/// A vector with a variable-size length (RFC 9420 section 2.1.2), and what follows it.
fn vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let low = usize::from(first & 0x3f);
    match first >> 6 {
        0 => rest.split_at_checked(low),
        1 => {
            let (&second, rest) = rest.split_first()?;
            rest.split_at_checked(low << 8 | usize::from(second))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of the group "gid": its format, and what stands behind the epoch.
    fn message(format: u8, next: u8) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, format, 3, b'g', b'i', b'd'];
        bytes.extend(7_u64.to_be_bytes());
        bytes.push(next);
        bytes
    }

    #[test]
    fn the_content_stands_behind_group_and_epoch() {
        let read = |format, next| {
            let bytes = message(format, next);
            let read = framing(&bytes);
            assert!(read.is_none_or(|framing| framing.epoch == 7));
            read.map(|framing| (framing.group_id.to_vec(), framing.content))
        };
        let gid = b"gid".to_vec();
        assert_eq!(read(2, 1), Some((gid.clone(), Content::Application)));
        assert_eq!(read(2, 2), Some((gid.clone(), Content::Proposal)));
        assert_eq!(read(2, 3), Some((gid.clone(), Content::Commit)));
        assert_eq!(read(2, 4), None);
        assert_eq!(read(1, 1), Some((gid.clone(), Content::Commit)));
        assert_eq!(read(1, 4), Some((gid, Content::ExternalCommit)));
        assert_eq!(read(3, 1), None);
        let whole = message(2, 1);
        for length in 0..whole.len() {
            assert_eq!(framing(&whole[..length]), None, "{length}");
        }
    }
}
