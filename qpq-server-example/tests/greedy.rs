//! One account and one address against everybody else, over real sockets: each resource of the limits table
//! is taken as far as it goes (protocol.md §5.27). Each test prints what the others were answered in
//! meanwhile and the most that the server held; see it with `cargo test --test greedy -- --nocapture`.

#[path = "support/account.rs"]
mod account;
#[path = "support/raw.rs"]
mod raw;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use qpq_protocol::frame::encode_request;
use qpq_protocol::limits::Limits;
use qpq_protocol::method::rpc;
use qpq_protocol::proto;
use qpq_protocol::status::{AppCode, Status};
use qpq_server_example::scratch::Scratch;
use qpq_server_example::serve::{Options, Running};

use account::{DOMAIN, User, call, framed, health, respond};
use raw::{Answer, Peer};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Where the villains are; everybody else is at another address.
const VILLAIN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// What anybody waits at most for an answer, whatever villains do.
const SOON: Duration = Duration::from_secs(10);

/// A server, its villain, and everybody else.
struct World {
    server: Arc<Running>,
    alice: User,
    /// A connection of hers.
    honest: Peer,
    mallory: User,
    token: Bytes,
    limits: Limits,
    _dir: Scratch,
}

/// The defaults, but that deadlines come soon, and that rates do not stop what is to be seen here.
fn limits() -> Limits {
    let mut limits = Limits::default();
    for rate in [
        &mut limits.address_requests,
        &mut limits.account_requests,
        &mut limits.enqueues,
        &mut limits.registrations,
    ] {
        rate.count = u32::MAX;
    }
    limits.arrival_time = Duration::from_secs(3);
    limits.unsent_time = Duration::from_secs(4);
    limits.login_time = Duration::from_secs(4);
    limits.slowest = 256 * KIB;
    limits.account_connections = 60;
    limits
}

impl World {
    async fn start(name: &str) -> Self {
        let dir = Scratch::try_new(name).unwrap();
        let limits = limits();
        let options = Options {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: dir.path().to_owned(),
            domain: DOMAIN.to_owned(),
            admins: Vec::new(),
            limits: limits.clone(),
            max_pages: None,
            new_certificate: false,
            accept_clock: false,
        };
        let server = Arc::new(Running::start(&options).await.unwrap());
        let address = server.local_addr();
        let (alice, mallory) = (User::new("alice", 1), User::new("mallory", 2));
        let honest = Peer::connect_from(ELSEWHERE, address).await.unwrap();
        for user in [&mallory, &alice] {
            user.register(&honest, user.key()).await.unwrap();
        }
        let token = mallory.log_in(&honest).await.unwrap();
        alice.log_in(&honest).await.unwrap();
        Self {
            server,
            alice,
            honest,
            mallory,
            token,
            limits,
            _dir: dir,
        }
    }

    fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// So many connections of one socket at the villain's address, those that were refused left out.
    async fn crowd(&self, count: usize) -> Vec<Peer> {
        let first = Peer::connect_from(VILLAIN, self.address()).await.unwrap();
        let mut crowd = vec![first.clone()];
        for _ in 1..count {
            if let Ok(peer) = first.another(self.address()).await {
                crowd.push(peer);
            }
        }
        crowd
    }

    /// The same with a session of the villain's account.
    async fn crowd_of_one_account(&self, count: usize) -> Vec<Peer> {
        let first = Peer::connect_from(VILLAIN, self.address()).await.unwrap();
        let mut crowd = Vec::new();
        for _ in 0..count {
            let peer = first.another(self.address()).await.unwrap();
            let resume = proto::ResumeSessionRequest {
                auth: Some(proto::Auth {
                    access_token: self.token.clone(),
                    ..proto::Auth::default()
                }),
                ..proto::ResumeSessionRequest::default()
            };
            call::<rpc::ResumeSession>(&peer, &resume).await.unwrap();
            crowd.push(peer);
        }
        crowd
    }

    /// Lets a villain do something while others ask and newcomers come, and prints what it cost them.
    async fn meanwhile<T>(&self, what: &str, villain: impl Future<Output = T>) -> T {
        let (over, most) = (AtomicBool::new(false), AtomicUsize::new(0));
        let everybody_else = async {
            let (mut slowest, mut newcomers) = (Duration::ZERO, Duration::ZERO);
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) || rounds < 3 {
                rounds += 1;
                let begun = Instant::now();
                self.is_served().await;
                slowest = slowest.max(begun.elapsed());
                let begun = Instant::now();
                let newcomer = Peer::connect_from(ELSEWHERE, self.address()).await.unwrap();
                assert_eq!(asks(&newcomer).await, Ok("ok".to_owned()));
                newcomers = newcomers.max(begun.elapsed());
                let held = self.server.footprint().await;
                most.fetch_max(held, Ordering::Relaxed);
                assert!(held <= self.limits.footprint());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (slowest, newcomers)
        };
        let villain = async {
            let done = villain.await;
            over.store(true, Ordering::Relaxed);
            done
        };
        let (done, (slowest, newcomers)) = tokio::join!(villain, everybody_else);
        println!(
            "{what}: others were answered within {slowest:?}, newcomers within {newcomers:?}; the server \
             held at most {} KiB",
            most.load(Ordering::Relaxed) / KIB
        );
        assert!(slowest < SOON && newcomers < SOON);
        done
    }

    /// Alice asks for her messages and sends one.
    async fn is_served(&self) {
        assert_eq!(asks(&self.honest).await, Ok("ok".to_owned()));
        let fetch = proto::FetchRequest {
            recipient_key: self.alice.key(),
            ..proto::FetchRequest::default()
        };
        assert!(call::<rpc::Fetch>(&self.honest, &fetch).await.is_ok());
        let sent = self.send_mallory(b"hello".as_slice().into()).await;
        assert!(
            sent.is_ok() || sent == Err(Status::QuotaExceeded),
            "{sent:?}"
        );
    }

    async fn send_mallory(&self, payload: Bytes) -> Result<(), Status> {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut message_id = [0; 16];
        message_id[8..].copy_from_slice(&number);
        (message_id[6], message_id[8]) = (0x70, 0x80);
        let request = proto::EnqueueRequest {
            recipient_key: self.mallory.key(),
            payload,
            message_id: Bytes::copy_from_slice(&message_id),
            ..proto::EnqueueRequest::default()
        };
        let sent = call::<rpc::Enqueue>(&self.honest, &request).await;
        sent.map(drop)
    }

    async fn held(&self) -> usize {
        self.server.footprint().await
    }
}

/// What a peer is told of the server's health.
async fn asks(peer: &Peer) -> Result<String, Status> {
    let health = call::<rpc::Health>(peer, &proto::HealthRequest {}).await;
    health.map(|health| health.status)
}

async fn standing(crowd: &[Peer]) -> usize {
    let mut standing = 0;
    for peer in crowd {
        standing += usize::from(peer.stands().await);
    }
    standing
}

/// Waits until something holds, no longer than anything takes.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..300 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_announces_and_sends_in_part() {
    let world = World::start("greedy-announces").await;
    let crowd = world.crowd_of_one_account(34).await;
    let before = world.held().await;
    world
        .meanwhile("34 connections that announce 8 MiB each", async {
            for peer in &crowd {
                for _ in 0..2 {
                    peer.begin(framed(206, 4 << 20, b""), false).await;
                }
            }
        })
        .await;
    assert!(world.held().await < before + MIB, "nothing is set aside");
    let part = Bytes::from(framed(206, 4 << 20, &vec![0; 900 * KIB]));
    world
        .meanwhile("34 connections that send a quarter of 4 MiB", async {
            for peer in &crowd {
                peer.begin(part.clone(), false).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        })
        .await;
    assert!(world.held().await < before + 17 * MIB, "a sixteenth");
    until("what does not arrive is given up", async || {
        world.held().await < before + 4 * MIB
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_asks_and_takes_nothing() {
    let world = World::start("greedy-asks").await;
    for _ in 0..5 {
        world.send_mallory(vec![7; 3 * MIB].into()).await.unwrap();
    }
    let crowd = world.crowd_of_one_account(50).await;
    let before = world.held().await;
    crowd[0].deafen().await;
    let fetch = proto::FetchRequest {
        recipient_key: world.mallory.key(),
        ..proto::FetchRequest::default()
    };
    let fetch = encode_request(201, 7, &fetch).unwrap();
    world
        .meanwhile(
            "50 connections that ask for 15 MiB each and take nothing",
            async {
                for peer in &crowd {
                    for _ in 0..5 {
                        peer.begin(fetch.clone(), true).await;
                    }
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            },
        )
        .await;
    assert!(world.held().await < before + 40 * MIB);
    until("who takes nothing is closed", async || {
        standing(&crowd).await <= 42
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_with_too_many_connections() {
    let world = World::start("greedy-connections").await;
    let crowd = world
        .meanwhile(
            "70 connections of an account",
            world.crowd_of_one_account(70),
        )
        .await;
    until("the longest silent ones are closed", async || {
        standing(&crowd).await <= world.limits.account_connections
    })
    .await;
    assert!(crowd[69].stands().await, "the newest stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_announces_and_is_silent() {
    let world = World::start("greedy-address").await;
    let before = world.held().await;
    let crowd = world
        .meanwhile("80 connections of an address that announce", async {
            let crowd = world.crowd(80).await;
            for peer in &crowd {
                let part = framed(102, 60 << 10, &vec![0; 20 * KIB]);
                peer.begin(part, false).await;
                for _ in 0..20 {
                    peer.begin(health().slice(..5), false).await;
                }
            }
            crowd
        })
        .await;
    assert!(standing(&crowd).await <= world.limits.anonymous_connections);
    let connections = 80 * qpq_protocol::limits::CONNECTION;
    assert!(world.held().await < before + connections + 4 * MIB);
    // What they began is given up, and then they are.
    world
        .meanwhile("the same, silent", async {
            until("who is silent is closed", async || {
                standing(&crowd).await == 0
            })
            .await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_a_session_that_opens_too_much() {
    let world = World::start("greedy-streams").await;
    let peer = &world.crowd(1).await[0];
    // Eight streams that do not end; the ninth waits until one of them is given up.
    for _ in 0..8 {
        peer.begin(health().slice(..9), false).await;
    }
    let begun = Instant::now();
    let ninth = peer.send(health(), true).await;
    assert!(respond(ninth).is_ok());
    assert!(begun.elapsed() >= Duration::from_secs(2));
    // Too long for anyone without a session: answered from the header.
    let long = peer.send(framed(205, 64 * 1024 + 1, b""), false).await;
    assert_eq!(respond(long), Err(Status::BadRequest));
    let slow = peer.send(framed(102, 1000, b"x"), false).await;
    assert_eq!(slow, Answer::Reset(AppCode::Timeout.code()));
}
