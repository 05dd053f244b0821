//! How cores on one store tell each other that something changed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qpq_protocol::io::Wake;

/// Carries wakes between the cores on one store. They may be lost and repeated: whatever they are about is found
/// without them, only later. So nothing here waits for anybody.
pub trait WakeBus: Send + 'static {
    /// Comes first, and once. `notify` is to be called, from any thread, whenever [`WakeBus::take`] may have something
    /// that it had not before.
    fn join(&mut self, notify: Notify);

    /// Tells the other cores, without waiting.
    fn tell(&mut self, wake: Wake);

    /// The next thing that another core told, if there is any.
    fn take(&mut self) -> Option<Wake>;
}

/// Tells a node that its bus may have something for it. It does not wait either.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

/// Of a core that has its store for itself.
impl WakeBus for () {
    fn join(&mut self, _: Notify) {}

    fn tell(&mut self, _: Wake) {}

    fn take(&mut self) -> Option<Wake> {
        None
    }
}

/// Wakes that wait for one core; beyond them the oldest is lost.
const WAITING: usize = 1024;

/// A bus between the cores of one process. Its clones are the same bus.
#[derive(Clone, Default)]
pub struct LocalBus(Arc<Mutex<Members>>);

#[derive(Default)]
struct Members {
    last: u64,
    all: Vec<Member>,
}

struct Member {
    number: u64,
    waiting: VecDeque<Wake>,
    notify: Option<Notify>,
}

/// A place on a [`LocalBus`], for one core. Leaves it when it is dropped.
pub struct LocalMember {
    bus: LocalBus,
    number: u64,
}

impl LocalBus {
    /// A bus that nobody is on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more place.
    #[must_use]
    pub fn member(&self) -> LocalMember {
        let mut members = self.members();
        members.last = members.last.saturating_add(1);
        let number = members.last;
        members.all.push(Member {
            number,
            waiting: VecDeque::new(),
            notify: None,
        });
        drop(members);
        let bus = self.clone();
        LocalMember { bus, number }
    }

    /// Held for as long as it takes to move one wake.
    fn members(&self) -> MutexGuard<'_, Members> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WakeBus for LocalMember {
    fn join(&mut self, notify: Notify) {
        if let Some(own) = self.bus.members().own(self.number) {
            own.notify = Some(notify);
        }
    }

    fn tell(&mut self, wake: Wake) {
        let mut told = Vec::new();
        for other in &mut self.bus.members().all {
            if other.number == self.number || other.waiting.back() == Some(&wake) {
                continue;
            }
            if other.waiting.len() >= WAITING {
                other.waiting.pop_front();
            }
            other.waiting.push_back(wake.clone());
            told.extend(other.notify.clone());
        }
        for notify in told {
            notify();
        }
    }

    fn take(&mut self) -> Option<Wake> {
        self.bus.members().own(self.number)?.waiting.pop_front()
    }
}

impl Members {
    fn own(&mut self, number: u64) -> Option<&mut Member> {
        self.all.iter_mut().find(|member| member.number == number)
    }
}

impl Drop for LocalMember {
    fn drop(&mut self) {
        let mut members = self.bus.members();
        members.all.retain(|member| member.number != self.number);
    }
}

impl core::fmt::Debug for LocalBus {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let members = self.members().all.len();
        f.debug_struct("LocalBus")
            .field("members", &members)
            .finish()
    }
}

impl core::fmt::Debug for LocalMember {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("LocalMember").field(&self.number).finish()
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use qpq_protocol::io::Topic;

    use super::*;

    fn wake(account: u32) -> Wake {
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(account.to_be_bytes()) {
            *to = from;
        }
        Wake {
            topic: Topic::Live(key),
            body: "news".into(),
        }
    }

    #[test]
    fn all_others_hear_and_one_does_not_hear_oneself() {
        let bus = LocalBus::new();
        let (mut one, mut two, mut three) = (bus.member(), bus.member(), bus.member());
        let called = Arc::new(AtomicUsize::new(0));
        let count = called.clone();
        two.join(Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        one.tell(wake(1));
        assert_eq!(called.load(Ordering::Relaxed), 1);
        assert_eq!((two.take(), two.take()), (Some(wake(1)), None));
        assert_eq!(three.take(), Some(wake(1)));
        assert_eq!(one.take(), None);
        drop(two);
        one.tell(wake(2));
        assert_eq!(called.load(Ordering::Relaxed), 1, "is gone");
        assert_eq!(bus.members().all.len(), 2);
    }

    #[test]
    fn who_takes_nothing_holds_nobody_up_and_loses_the_oldest() {
        let bus = LocalBus::new();
        let (mut one, mut slow) = (bus.member(), bus.member());
        let most = u32::try_from(WAITING).expect("a small number");
        for account in 0..most + 2 {
            one.tell(wake(account));
            one.tell(wake(account));
        }
        let heard: Vec<Wake> = core::iter::from_fn(|| slow.take()).collect();
        assert_eq!(heard.len(), WAITING);
        assert_eq!(heard.first(), Some(&wake(2)));
        assert_eq!(heard.last(), Some(&wake(most + 1)));
    }
}
