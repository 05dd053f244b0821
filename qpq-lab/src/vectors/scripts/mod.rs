//! `scripts`: short stories of a core that people read and review, with what it did after each line.
//!
//! A line that begins with `> ` is a command; the indented lines below it are what the shown core
//! was told and did. [`make`] writes them again, [`check`] compares.

mod render;

use core::time::Duration;
use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use qpq_protocol::client::{ConversationId, Event, Intent, Outcome, intent};
use qpq_protocol::frame::{Header as _, RequestHeader};
use qpq_protocol::ids::{ConnId, Dir, StreamId};
use qpq_protocol::io::StreamInput;
use qpq_protocol::method::Method;
use qpq_protocol::storage::Failure;
use zeroize::Zeroizing;

use super::json::unhex;
use super::sessions::input::Input;
use super::sessions::world::World;
use super::{Row, VectorError, file_error, read, row};

type Result<T> = core::result::Result<T, VectorError>;

/// The folder, and how its files end.
const FOLDER: &str = "scripts";
const ENDING: &str = ".txt";
/// What each command waits for, beside what is due at once: answers that are paced.
const MOMENT: Duration = Duration::from_millis(100);
const INDENT: &str = "    ";

/// Runs every script and compares; a row for each.
pub(super) fn check(dir: &Path) -> Vec<Row> {
    each(dir, |_, text| {
        let (again, commands) = run(text)?;
        let mut lines = text.lines().zip(again.lines());
        let differs = lines.position(|(a, b)| a != b);
        let number = match differs {
            Some(number) => number,
            None if text == again => return Ok(commands),
            None => text.lines().count().min(again.lines().count()),
        };
        let line = |text: &str| {
            text.lines()
                .nth(number)
                .unwrap_or("nothing")
                .trim()
                .to_owned()
        };
        Err(VectorError::Differs {
            field: format!("line {}", number + 1),
            how: format!("`{}` in the file, `{}` here", line(text), line(&again)),
        })
    })
}

/// Runs every script that is there and writes what it gave; a row for each.
pub(super) fn make(dir: &Path) -> Vec<Row> {
    each(dir, |path, text| {
        let (again, commands) = run(text)?;
        std::fs::write(path, again).map_err(|error| file_error(path, &error))?;
        Ok(commands)
    })
}

fn each(dir: &Path, act: impl Fn(&Path, &str) -> Result<usize>) -> Vec<Row> {
    let folder = dir.join(FOLDER);
    let names = match folder.is_dir() {
        true => super::file_names(&folder, ENDING),
        false => return Vec::new(),
    };
    let names = match names {
        Ok(names) => names,
        Err(problem) => return vec![row(FOLDER.to_owned(), Err(problem))],
    };
    let rows = names.into_iter().map(|name| {
        let path = folder.join(&name);
        let text = read(&path).and_then(|text| {
            String::from_utf8(text).map_err(|_| super::json::wrong("script", "UTF-8"))
        });
        row(
            format!("{FOLDER}/{name}"),
            text.and_then(|text| act(&path, &text)),
        )
    });
    rows.collect()
}

/// The script with what its commands gave, and how many they are.
fn run(text: &str) -> Result<(String, usize)> {
    let mut script = Script::new()?;
    let mut out = String::new();
    let mut commands = 0;
    for line in text.lines().filter(|line| !line.starts_with(INDENT)) {
        out.push_str(line);
        out.push('\n');
        let Some(command) = line.strip_prefix("> ") else {
            continue;
        };
        commands += 1;
        script
            .command(command)
            .map_err(|error| error.inside(&format!("`{command}`")))?;
        for told in script.news() {
            out.push_str(&format!("{INDENT}{told}\n"));
        }
    }
    Ok((out, commands))
}

/// The server, or a client by its number.
type Machine = Option<usize>;

struct Script {
    world: World,
    names: BTreeMap<String, usize>,
    peers: BTreeMap<String, (ConnId, u64)>,
    conversations: BTreeMap<usize, ConversationId>,
    /// Whose steps are shown; nobody's at first.
    shown: Option<Machine>,
    /// Starts and steps of that machine that were shown or passed over.
    seen: (usize, usize),
}

impl Script {
    fn new() -> Result<Self> {
        Ok(Self {
            world: World::new()?,
            names: BTreeMap::new(),
            peers: BTreeMap::new(),
            conversations: BTreeMap::new(),
            shown: None,
            seen: (0, 0),
        })
    }

    fn command(&mut self, command: &str) -> Result<()> {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            ["show", who] => {
                self.shown = Some(self.machine(who)?);
                self.seen = (usize::MAX, usize::MAX);
                Ok(())
            }
            ["client", name] => {
                let client = self.world.add_client(name)?;
                self.names.insert((*name).to_owned(), client);
                self.settle()
            }
            ["peer", name] => {
                let conn = self.world.add_peer()?;
                self.peers.insert((*name).to_owned(), (conn, 0));
                self.settle()
            }
            ["pass", time] => {
                let seconds = time
                    .strip_suffix('s')
                    .and_then(|seconds| seconds.parse().ok());
                let seconds = seconds.ok_or_else(|| unknown(command))?;
                self.world.pass(Duration::from_secs(seconds))
            }
            ["down"] => {
                self.world.set_down(true);
                Ok(())
            }
            ["up"] => {
                self.world.set_down(false);
                Ok(())
            }
            [
                verb @ ("hold" | "release" | "step" | "keep" | "lose" | "shutdown"),
                who,
            ] => {
                let machine = self.machine(who)?;
                self.disturb(verb, machine)?;
                self.settle()
            }
            ["fail", who, why] => {
                let failure = match *why {
                    "full" => Failure::Full,
                    "unavailable" => Failure::Unavailable,
                    "unknown" => Failure::Unknown,
                    _ => return Err(unknown(command)),
                };
                match self.machine(who)? {
                    Some(client) => self.world.fail_client(client, failure)?,
                    None => self.world.fail_server(failure)?,
                }
                self.settle()
            }
            ["cut", who] => {
                let client = self.machine(who)?.ok_or_else(|| unknown(command))?;
                self.world.cut_client(client)?;
                self.settle()
            }
            [who, rest @ ..] if self.peers.contains_key(*who) => self.peer(who, rest),
            [who, rest @ ..] => {
                let client = self.machine(who)?.ok_or_else(|| unknown(command))?;
                let intent = self.intent(client, rest)?;
                self.world.say(client, intent)?;
                self.settle()
            }
            [] => Err(unknown(command)),
        }
    }

    fn machine(&self, who: &str) -> Result<Machine> {
        match who {
            "server" => Ok(None),
            who => self
                .names
                .get(who)
                .map(|client| Some(*client))
                .ok_or_else(|| unknown(who)),
        }
    }

    fn disturb(&mut self, verb: &str, machine: Machine) -> Result<()> {
        match (verb, machine) {
            ("hold" | "release", None) => self.world.server.hold = verb == "hold",
            ("hold" | "release", Some(client)) => {
                self.world.client(client)?.hold = verb == "hold";
            }
            ("step", None) => self.world.step_server()?,
            ("step", Some(client)) => self.world.step_client(client)?,
            ("keep", None) => self.world.unseen_by_server()?,
            ("keep", Some(client)) => self.world.unseen_by_client(client)?,
            ("lose", None) => self.world.restart_server()?,
            ("lose", Some(client)) => self.world.restart_client(client)?,
            (_, None) => self.world.tell_server(&Input::Shutdown)?,
            (_, Some(client)) => self.world.tell_client(client, &Input::Shutdown)?,
        }
        Ok(())
    }

    /// A stranger: `request Health`, `request Enqueue 0a20..`, `bytes 0000..`, `open 0000..`.
    fn peer(&mut self, who: &str, words: &[&str]) -> Result<()> {
        let (conn, number) = *self.peers.get(who).ok_or_else(|| unknown(who))?;
        let bytes = |digits: &str| unhex(digits).ok_or_else(|| unknown(digits));
        let (data, ends) = match words {
            ["request", method, payload @ ..] => {
                let mut all = Method::ALL.iter();
                let method = all.find(|known| format!("{known:?}") == *method);
                let method = method.ok_or_else(|| unknown("request"))?;
                let payload = payload
                    .first()
                    .map_or(Ok(Vec::new()), |digits| bytes(digits))?;
                let header = RequestHeader {
                    method_id: method.id(),
                    request_id: 7,
                    payload_len: payload.len().try_into().unwrap_or(u32::MAX),
                };
                let mut frame = bytes::BytesMut::new();
                header.write(&mut frame);
                frame.extend_from_slice(&payload);
                (frame.freeze(), true)
            }
            ["bytes", digits] => (Bytes::from(bytes(digits)?), true),
            ["open", digits] => (Bytes::from(bytes(digits)?), false),
            _ => return Err(unknown(who)),
        };
        self.peers.insert(who.to_owned(), (conn, number + 1));
        let stream = StreamId::Peer(Dir::Bi, number);
        self.world
            .tell_server(&Input::Stream(conn, stream, StreamInput::Data(data)))?;
        if ends {
            self.world
                .tell_server(&Input::Stream(conn, stream, StreamInput::Fin))?;
        }
        self.settle()
    }

    fn intent(&self, client: usize, words: &[&str]) -> Result<Intent> {
        let own = |text: &str| text.to_owned();
        let password = |name: &str| Zeroizing::new(format!("secret of {name}").into_bytes());
        let conversation = || {
            let id = self.conversations.get(&client).copied();
            id.ok_or_else(|| unknown("a conversation"))
        };
        Ok(match words {
            ["register", name] => intent::Register::new(*name, password(name)).into(),
            ["login", name] => intent::Login::new(*name, password(name)).into(),
            ["logout"] => intent::Logout.into(),
            ["dm", user] => intent::Dm(own(user)).into(),
            ["group", name, members @ ..] => intent::CreateGroup::new(*name, members).into(),
            ["invite", user] => intent::Invite::new(conversation()?, *user).into(),
            ["remove", user] => intent::Remove::new(conversation()?, *user).into(),
            ["send", text @ ..] => intent::Send::new(conversation()?, text.join(" ")).into(),
            _ => return Err(unknown(words.first().unwrap_or(&"nothing"))),
        })
    }

    fn settle(&mut self) -> Result<()> {
        self.world.pass(MOMENT)?;
        for (client, node) in self.world.clients.iter().enumerate() {
            let latest = node.events.iter().rev().find_map(|event| match event {
                Event::Joined { conversation }
                | Event::Done {
                    outcome: Outcome::Conversation(conversation),
                    ..
                } => Some(conversation.id),
                _ => None,
            });
            if let Some(id) = latest {
                self.conversations.insert(client, id);
            }
        }
        Ok(())
    }

    /// What the shown machine was told and did since this was last asked.
    fn news(&mut self) -> Vec<String> {
        let Some(shown) = self.shown else {
            return Vec::new();
        };
        let starts = match shown {
            None => self.world.server.starts(),
            Some(client) => match self.world.clients.get(client) {
                Some(node) => node.starts(),
                None => return Vec::new(),
            },
        };
        let (first_start, first_step) = self.seen;
        let mut lines = Vec::new();
        for (number, (_, steps)) in starts.iter().enumerate().skip(first_start) {
            let from = match number == first_start {
                true => first_step,
                false => 0,
            };
            for step in steps.iter().skip(from) {
                lines.extend(render::step(step, shown.is_none()));
            }
        }
        let last = starts.len().saturating_sub(1);
        self.seen = (last, starts.last().map_or(0, |(_, steps)| steps.len()));
        lines
    }
}

fn unknown(what: &str) -> VectorError {
    super::json::wrong(what, "something that a script can say here")
}
