//! `mls`: groups from seeds, every message on the wire, and what the members agree on after each
//! step.

use std::collections::BTreeMap;

use qpq_crypto::identity::{Credential, DeviceId, DeviceSecret, IdentitySecret};
use qpq_crypto::mls::{CommitOut, Device, Group, Policy, Processed, Suite};
use qpq_crypto::sealed::CHANNEL_KEY_LABEL;
use serde_json::{Value, json};

use super::VectorError;
use super::cases::{TIME_MS, inputs as keep};
use super::json::{Fields as _, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

const BROKEN: VectorError = VectorError::Broken("a group");

pub(super) fn inputs() -> Result<Vec<Value>> {
    let cases = [Suite::MlKem768X25519, Suite::X25519].map(|suite| {
        let members = [("alice", 0xa1), ("bob", 0xb0), ("carol", 0xc0)];
        let members = members.map(|(name, number)| json!({
            "name": name, "identity_seed": digits([number; 32]), "device_id": digits([number; 16]),
            "device_seed": digits([number ^ 0x0f; 32]), "created_at_ms": TIME_MS.to_string(),
        }));
        let steps = [
            json!({"op": "key_package", "who": "bob"}),
            json!({"op": "key_package", "who": "carol"}),
            json!({"op": "create", "who": "alice"}),
            json!({"op": "add", "who": "alice", "whom": ["bob"]}),
            json!({"op": "join", "who": "bob"}),
            json!({"op": "message", "who": "alice", "content": digits("hello bob")}),
            json!({"op": "message", "who": "bob", "content": digits("hello alice")}),
            json!({"op": "update", "who": "bob"}),
            json!({"op": "add", "who": "bob", "whom": ["carol"]}),
            json!({"op": "join", "who": "carol"}),
            json!({"op": "message", "who": "carol", "content": ""}),
            json!({"op": "update", "who": "carol"}),
            json!({"op": "leave", "who": "bob"}),
            json!({"op": "commit_proposals", "who": "alice", "whom": ["bob"]}),
            json!({"op": "message", "who": "alice", "content": digits("without bob")}),
            json!({"op": "rejoin", "who": "carol"}),
            json!({"op": "remove", "who": "alice", "whom": ["carol"]}),
            json!({"op": "message", "who": "alice", "content": digits("alone")}),
        ];
        let steps = (1u8..).zip(steps).map(|(number, mut step)| {
            if step["op"] != "join" {
                step["seed"] = digits([number; 32]);
            }
            step
        });
        json!({
            "name": format!("a group of suite {:#06x}", suite.id()), "suite": suite.id(),
            "group_id": digits("a group"), "time_ms": TIME_MS.to_string(),
            "members": members, "steps": steps.collect::<Vec<_>>(),
        })
    });
    Ok(cases.to_vec())
}

pub(super) fn replay(case: &Value) -> Result<Value> {
    let mut out = keep(case, &["name", "suite", "group_id", "time_ms", "members"])?;
    let mut people = BTreeMap::new();
    for member in case.list("members")? {
        people.insert(member.text("name")?.to_owned(), Person::new(member)?);
    }
    let mut story = Story {
        suite: Suite::from_id(case.number("suite")?)
            .ok_or_else(|| wrong("suite", "a known suite"))?,
        group_id: case.bytes("group_id")?,
        time_ms: case.number("time_ms")?,
        people,
        last: None,
    };
    let steps = case
        .list("steps")?
        .iter()
        .enumerate()
        .map(|(number, step)| {
            let step = story.step(step);
            step.map_err(|error| error.inside(&format!("steps[{number}]")))
        });
    out["steps"] = steps.collect::<Result<_>>()?;
    Ok(out)
}

/// A member's device, and the group as it sees it.
struct Person {
    device: Device,
    key_package: Vec<u8>,
    group: Option<Group>,
}

impl Person {
    fn new(member: &Value) -> Result<Self> {
        let identity = IdentitySecret::from_seed(member.array("identity_seed")?);
        let secret = DeviceSecret::from_seed(member.array("device_seed")?);
        let id = DeviceId::new(member.array("device_id")?);
        let created_at_ms = member.number("created_at_ms")?;
        let credential = Credential::issue(&identity, id, secret.public(), created_at_ms);
        Ok(Self {
            device: Device::new(secret, credential, []).map_err(|_| BROKEN)?,
            key_package: Vec::new(),
            group: None,
        })
    }

    fn group(&mut self) -> Result<(&mut Group, &mut Device)> {
        let group = self
            .group
            .as_mut()
            .ok_or_else(|| wrong("who", "a member"))?;
        Ok((group, &mut self.device))
    }
}

/// A group while its steps are taken.
struct Story {
    suite: Suite,
    group_id: Vec<u8>,
    time_ms: u64,
    people: BTreeMap<String, Person>,
    /// The last commit.
    last: Option<CommitOut>,
}

impl Story {
    fn step(&mut self, step: &Value) -> Result<Value> {
        let (op, who) = (step.text("op")?, step.text("who")?);
        let mut out = keep(step, &["op", "who"])?;
        for name in ["seed", "whom", "content"] {
            if let Some(value) = step.get(name) {
                out[name] = value.clone();
            }
        }
        if op == "join" {
            let last = self
                .last
                .clone()
                .ok_or_else(|| wrong("op", "after a commit"))?;
            let welcome = last.welcome.ok_or_else(|| wrong("op", "after an add"))?;
            let (tree, person) = (last.ratchet_tree.as_deref(), self.person(who)?);
            let joined = Group::join(&mut person.device, &welcome, tree, Policy::Qpq);
            person.group = Some(joined.map_err(|_| BROKEN)?);
            return self.agreed(out);
        }
        let seed = step.array("seed")?;
        let (suite, time_ms) = (self.suite, self.time_ms);
        match op {
            "key_package" => {
                let person = self.person(who)?;
                let made = person.device.key_package(&seed, suite, time_ms, false);
                let made = made.map_err(|_| BROKEN)?;
                out["key_package"] = digits(&made.bytes);
                out["reference"] = digits(&made.reference);
                person.key_package = made.bytes;
                return Ok(out);
            }
            "create" => {
                let id = self.group_id.clone();
                let person = self.person(who)?;
                let group = Group::create(&mut person.device, &seed, suite, &id);
                person.group = Some(group.map_err(|_| BROKEN)?);
            }
            "message" => {
                let content = step.bytes("content")?;
                let (group, device) = self.person(who)?.group()?;
                let message = group.encrypt(device, &seed, &content).map_err(|_| BROKEN)?;
                out["message"] = digits(&message);
                for (_, processed) in self.tell_others(who, &message)? {
                    match processed {
                        Processed::Application { plaintext, .. } if plaintext == content => {}
                        _ => return Err(BROKEN),
                    }
                }
                return Ok(out);
            }
            "leave" => {
                let (group, device) = self.person(who)?.group()?;
                let proposal = group.leave(device, &seed).map_err(|_| BROKEN)?;
                out["proposal"] = digits(&proposal);
                self.tell_others(who, &proposal)?;
                return Ok(out);
            }
            "rejoin" => {
                let last = self
                    .last
                    .clone()
                    .ok_or_else(|| wrong("op", "after a commit"))?;
                let (tree, person) = (last.ratchet_tree.as_deref(), self.person(who)?);
                let device = &mut person.device;
                let rejoined = Group::rejoin(device, &seed, &last.group_info, tree, Policy::Qpq);
                let (group, made) = rejoined.map_err(|_| BROKEN)?;
                person.group = Some(group);
                out["commit"] = digits(&made.commit);
                out["group_info"] = digits(&made.group_info);
                self.tell_others(who, &made.commit)?;
                self.last = Some(made);
            }
            "add" | "update" | "remove" | "commit_proposals" => {
                let whom = match step.get_field("whom") {
                    Some(_) => step
                        .list("whom")?
                        .iter()
                        .filter_map(Value::as_str)
                        .collect(),
                    None => Vec::new(),
                };
                let made = self.commit(op, who, &whom, &seed)?;
                out["commit"] = digits(&made.commit);
                out["welcome"] = made.welcome.as_ref().map_or(Value::Null, digits);
                out["ratchet_tree"] = made.ratchet_tree.as_ref().map_or(Value::Null, digits);
                out["group_info"] = digits(&made.group_info);
                self.tell_others(who, &made.commit)?;
                if op != "add" {
                    for name in whom {
                        self.person(name)?.group = None;
                    }
                }
                self.last = Some(made);
            }
            _ => return Err(wrong("op", "a known step")),
        }
        self.agreed(out)
    }

    fn commit(&mut self, op: &str, who: &str, whom: &[&str], seed: &[u8; 32]) -> Result<CommitOut> {
        let mut packages = Vec::new();
        let mut identities = Vec::new();
        for name in whom {
            let person = self.person(name)?;
            packages.push(person.key_package.clone());
            identities.push(person.device.credential().identity_key);
        }
        let packages: Vec<&[u8]> = packages.iter().map(Vec::as_slice).collect();
        let time_ms = self.time_ms;
        let (group, device) = self.person(who)?.group()?;
        let made = match op {
            "add" => group.add(device, seed, &packages, time_ms),
            // A commit removes one device.
            "remove" => match identities.as_slice() {
                [one] => group.remove(device, seed, one),
                _ => return Err(wrong("whom", "one member")),
            },
            "update" => group.update(device, seed),
            _ => group
                .commit_pending_proposals(device, seed)
                .and_then(|made| made.ok_or(qpq_crypto::mls::GroupError::NoPendingCommit)),
        };
        let made = made.map_err(|_| BROKEN)?;
        group.confirm_pending(device).map_err(|_| BROKEN)?;
        Ok(made)
    }

    /// Gives a message to all other members.
    fn tell_others(&mut self, who: &str, message: &[u8]) -> Result<Vec<(String, Processed)>> {
        let others = self
            .people
            .iter_mut()
            .filter(|(name, person)| name.as_str() != who && person.group.is_some());
        let told = others.map(|(name, person)| {
            let (group, device) = person.group()?;
            let processed = group.process(device, message).map_err(|_| BROKEN)?;
            Ok((name.clone(), processed))
        });
        told.collect()
    }

    /// Notes the epoch that all members are in now.
    fn agreed(&self, mut out: Value) -> Result<Value> {
        let mut seen: Vec<Value> = Vec::new();
        for group in self
            .people
            .values()
            .filter_map(|person| person.group.as_ref())
        {
            let key = group
                .export(CHANNEL_KEY_LABEL, b"", 32)
                .map_err(|_| BROKEN)?;
            seen.push(json!({
                "epoch": group.epoch(),
                "epoch_authenticator": digits(group.epoch_authenticator()),
                "channel_key": digits(key.expose()),
            }));
        }
        seen.dedup();
        match seen.as_slice() {
            [agreed] => {
                for name in ["epoch", "epoch_authenticator", "channel_key"] {
                    out[name] = agreed[name].clone();
                }
                Ok(out)
            }
            // Anyone who was added has still to join.
            _ => Err(BROKEN),
        }
    }

    fn person(&mut self, name: &str) -> Result<&mut Person> {
        self.people
            .get_mut(name)
            .ok_or_else(|| wrong("who", "one of the members"))
    }
}
