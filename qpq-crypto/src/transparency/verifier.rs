//! The client's memory of the log: it finds a server that shows different pasts to different people.

use super::proof::{ProofError, verify_consistency};
use super::{Hash, TreeHead, empty_root};

/// A head older than this, in milliseconds, is not accepted: 24 hours.
const MAX_AGE_MS: u64 = 24 * 60 * 60 * 1000;

/// Why a head was not accepted. All but the first two are reasons to warn the user; where both heads
/// are signed ([`Fork`](Self::Fork), [`Rollback`](Self::Rollback)) keep them: together they prove to
/// anyone that the server cheated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogAlarm {
    /// Refuse the answer: the head is not signed by the server.
    #[error("tree head is not signed by the server")]
    BadSignature,
    /// Ask again: the head is over 24 hours older or newer than this device's clock.
    #[error("tree head is not of the last 24 hours")]
    Stale,
    /// Warn: the same size with another root than before.
    #[error("the log has two different contents of the same size")]
    Fork,
    /// Warn: a later head with fewer leaves, or an earlier one with more.
    #[error("the log has lost leaves")]
    Rollback,
    /// Ask once more with the sizes of [`LogVerifier::needs`], then warn: the server can't prove
    /// that the smaller log is a beginning of the larger.
    #[error("the server did not prove that the log only grew")]
    NotProved,
}

/// What a client remembers of a server's log: its key and the last head accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogVerifier {
    server_key: [u8; 32],
    last: Option<TreeHead>,
}

impl LogVerifier {
    /// Starts with the server's Ed25519 signing key and the last head this client accepted, none at
    /// the first contact.
    pub fn new(server_key: [u8; 32], last: Option<TreeHead>) -> Self {
        Self { server_key, last }
    }

    /// The last head accepted, for keeping.
    pub fn last(&self) -> Option<&TreeHead> {
        self.last.as_ref()
    }

    /// Which consistency proof (from size, to size) [`observe`](Self::observe) will want for `head`;
    /// none where it wants an empty path.
    pub fn needs(&self, head: &TreeHead) -> Option<(u64, u64)> {
        let last = self.last.as_ref()?;
        let (from, to) = ordered(last.tree_size, head.tree_size);
        (from != 0 && from != to).then_some((from, to))
    }

    /// Checks a head from the server, or one that a contact saw, against the last one, and remembers
    /// the later of the two. A head that is neither newer nor larger than the last is checked to be a
    /// part of the same past and then forgotten.
    ///
    /// # Errors
    /// [`LogAlarm`]; nothing is remembered then.
    pub fn observe(
        &mut self,
        head: &TreeHead,
        consistency: &[Hash],
        now_ms: u64,
    ) -> Result<(), LogAlarm> {
        head.verify(&self.server_key)
            .map_err(|_| LogAlarm::BadSignature)?;
        if head.timestamp_ms.abs_diff(now_ms) > MAX_AGE_MS {
            return Err(LogAlarm::Stale);
        }
        if head.tree_size == 0 && head.root != empty_root() {
            return Err(LogAlarm::Fork);
        }
        let Some(last) = self.last else {
            self.last = Some(*head);
            return Ok(());
        };
        let (older, newer) = if head.timestamp_ms < last.timestamp_ms {
            (head, &last)
        } else {
            (&last, head)
        };
        if older.tree_size == newer.tree_size {
            if older.root != newer.root {
                return Err(LogAlarm::Fork);
            }
        } else if older.timestamp_ms == newer.timestamp_ms {
            // Signed in the same millisecond: either may be the earlier.
            let (small, large) = if older.tree_size < newer.tree_size {
                (older, newer)
            } else {
                (newer, older)
            };
            prove(small, large, consistency)?;
            self.last = Some(*large);
            return Ok(());
        } else if older.tree_size > newer.tree_size {
            return Err(LogAlarm::Rollback);
        } else {
            prove(older, newer, consistency)?;
        }
        self.last = Some(*newer);
        Ok(())
    }
}

fn ordered(a: u64, b: u64) -> (u64, u64) {
    (a.min(b), a.max(b))
}

/// Checks that the smaller log is a beginning of the larger; the empty one is of all.
fn prove(small: &TreeHead, large: &TreeHead, path: &[Hash]) -> Result<(), LogAlarm> {
    if small.tree_size == 0 {
        return Ok(());
    }
    verify_consistency(
        small.tree_size,
        &small.root,
        large.tree_size,
        &large.root,
        path,
    )
    .map_err(|error| match error {
        ProofError::OutOfRange | ProofError::WrongCount | ProofError::Invalid => {
            LogAlarm::NotProved
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::IdentitySecret;
    use crate::transparency::{Log, NodeId, ProofPlan, leaf_hash};
    use std::collections::BTreeMap;

    const NOW: u64 = 1_700_000_000_000;

    struct Server {
        secret: IdentitySecret,
        log: Log,
        rows: BTreeMap<NodeId, Hash>,
    }

    impl Server {
        fn new() -> Self {
            Self {
                secret: IdentitySecret::from_seed([1; 32]),
                log: Log::new(),
                rows: BTreeMap::new(),
            }
        }

        fn append(&mut self, leaf: &[u8]) {
            self.rows.extend(self.log.append(leaf_hash(leaf)).unwrap());
        }

        fn head(&self, after_ms: u64) -> TreeHead {
            let (size, root) = (self.log.size(), self.log.root());
            TreeHead::sign(&self.secret, size, root, NOW + after_ms)
        }

        fn proof(&self, sizes: Option<(u64, u64)>) -> Vec<Hash> {
            let Some((from, to)) = sizes else {
                return Vec::new();
            };
            let plan = ProofPlan::consistency(from, to).unwrap();
            let hashes: Vec<_> = plan.nodes().map(|node| self.rows[&node]).collect();
            plan.finish(&hashes).unwrap()
        }

        fn show(&self, client: &mut LogVerifier, head: &TreeHead) -> Result<(), LogAlarm> {
            let path = self.proof(client.needs(head));
            client.observe(head, &path, NOW)
        }
    }

    fn client(server: &Server) -> LogVerifier {
        LogVerifier::new(server.secret.public().0, None)
    }

    #[test]
    fn an_honest_log_is_followed_from_empty() {
        let mut server = Server::new();
        let mut client = client(&server);
        for number in 0..20u8 {
            let head = server.head(u64::from(number));
            assert_eq!(server.show(&mut client, &head), Ok(()));
            assert_eq!(client.last(), Some(&head));
            server.append(&[number]);
            if number % 3 == 0 {
                server.append(b"another");
            }
        }
    }

    #[test]
    fn who_reads_every_leaf_needs_no_proof() {
        let mut server = Server::new();
        let mut mirror = Log::new();
        for number in 0..100u8 {
            server.append(&[number]);
            let from = mirror.append(leaf_hash(&[number]));
            assert!(from.is_ok());
            assert_eq!(mirror.root(), server.head(0).root);
        }
        server.append(b"hidden");
        let shown = mirror.append(leaf_hash(b"shown"));
        assert!(shown.is_ok());
        assert_ne!(mirror.root(), server.head(0).root);
    }

    #[test]
    fn a_contacts_older_head_is_checked_and_forgotten() {
        let mut server = Server::new();
        server.append(b"a");
        let older = server.head(0);
        server.append(b"b");
        server.append(b"c");
        let newer = server.head(1);
        let mut client = client(&server);
        assert_eq!(server.show(&mut client, &newer), Ok(()));
        assert_eq!(client.needs(&older), Some((1, 3)));
        assert_eq!(server.show(&mut client, &older), Ok(()));
        assert_eq!(client.last(), Some(&newer));

        // The contact was shown another log.
        let mut other = Server::new();
        other.append(b"x");
        let shown = other.head(0);
        assert_eq!(server.show(&mut client, &shown), Err(LogAlarm::NotProved));
    }

    #[test]
    fn a_fork_and_a_rollback_are_found() {
        let mut server = Server::new();
        server.append(b"a");
        server.append(b"b");
        let mut client = client(&server);
        let head = server.head(0);
        assert_eq!(server.show(&mut client, &head), Ok(()));

        let mut fork = Server::new();
        fork.append(b"a");
        let shorter = fork.head(1);
        assert_eq!(client.observe(&shorter, &[], NOW), Err(LogAlarm::Rollback));
        fork.append(b"x");
        let same_size = fork.head(1);
        assert_eq!(fork.show(&mut client, &same_size), Err(LogAlarm::Fork));
        fork.append(b"c");
        let longer = fork.head(1);
        assert_eq!(fork.show(&mut client, &longer), Err(LogAlarm::NotProved));
        // A larger log that claims to be older is as impossible.
        let earlier = TreeHead::sign(&fork.secret, 3, fork.log.root(), NOW - 1);
        assert_eq!(fork.show(&mut client, &earlier), Err(LogAlarm::Rollback));
        let empty = TreeHead::sign(&fork.secret, 0, [0; 32], NOW + 1);
        assert_eq!(fork.show(&mut client, &empty), Err(LogAlarm::Fork));
        assert_eq!(client.last(), Some(&head));

        server.append(b"c");
        let grown = server.head(1);
        assert_eq!(server.show(&mut client, &grown), Ok(()));
    }

    #[test]
    fn unsigned_and_stale_heads_are_refused() {
        let server = Server::new();
        let mut client = client(&server);
        let mut head = server.head(0);
        head.timestamp_ms += 1;
        assert_eq!(client.observe(&head, &[], NOW), Err(LogAlarm::BadSignature));
        let head = server.head(0);
        let late = NOW + MAX_AGE_MS + 1;
        assert_eq!(client.observe(&head, &[], late), Err(LogAlarm::Stale));
        assert_eq!(client.observe(&head, &[], 0), Err(LogAlarm::Stale));
        assert_eq!(client.observe(&head, &[], NOW + MAX_AGE_MS), Ok(()));
    }
}
