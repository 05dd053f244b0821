//! False words of servers at the one place where each matters, and only there: said at random they would not be met in
//! a thousand worlds.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::method::Method;
use crate::proto;
use crate::rng::Rng;
use crate::status::Status;

/// What a server is going to say.
#[derive(Default)]
pub(super) struct Aims {
    /// It refuses the next account that asks for its place on a list.
    pub(super) refuses_place: bool,
    /// It does not say that it has taken a package, and refuses it when it comes again. By the hashes of
    /// requests.
    pub(super) packages: Option<BTreeSet<[u8; 32]>>,
    /// Its listings are of a moment before: now and then what nobody has read of a queue is not in them.
    pub(super) lists_late: Option<Rng>,
}

impl Aims {
    pub(super) fn is_any(&self) -> bool {
        self.refuses_place || self.packages.is_some() || self.lists_late.is_some()
    }

    /// The answer in place of one that went well, if it is one of those that matter.
    pub(super) fn answer(
        &mut self,
        method: Method,
        request: &[u8],
        answer: &Bytes,
    ) -> Option<(Status, Vec<u8>)> {
        match method {
            Method::AddMember if core::mem::take(&mut self.refuses_place) => {
                Some((Status::Forbidden, Vec::new()))
            }
            Method::UploadKeyPackage => {
                let packages = self.packages.as_mut()?;
                match packages.insert(Sha256::digest(request).into()) {
                    true => Some((Status::Unavailable, Vec::new())),
                    false => Some((Status::BadRequest, Vec::new())),
                }
            }
            Method::ListQueues => self.listing(answer),
            _ => None,
        }
    }

    fn listing(&mut self, answer: &Bytes) -> Option<(Status, Vec<u8>)> {
        let rng = self.lists_late.as_mut()?;
        let mut page = proto::ListQueuesResponse::decode(answer.clone()).ok()?;
        for queue in &mut page.queues {
            if queue.slot > 0 && queue.first_seq == 1 && rng.below(2) == 0 {
                queue.next_seq = 1;
            }
        }
        Some((Status::Ok, page.encode_to_vec()))
    }
}
