//! `qpq send`: one message, or each line of standard input.

use std::collections::BTreeMap;

use qpq_protocol::client::{ConversationId, Event, IntentId, Outcome};
use qpq_server_example::session::{Session, SessionError};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::failed::Failed;
use crate::output::Output;

/// Messages on their way at once; more lines are not read before one is confirmed.
const ON_THE_WAY: usize = 64;

/// Sends one message and waits until the server has it.
pub async fn one(
    session: &mut Session,
    conversation: ConversationId,
    text: String,
    output: &Output,
) -> Result<(), Failed> {
    let asked = session.ask(move |client, now| client.send(now, conversation, &text));
    match asked.await? {
        Outcome::Sent {
            message_id,
            index,
            undelivered,
            ..
        } => output.sent(1, conversation, message_id, index, &undelivered),
        _ => Err(Failed::Unexpected),
    }
}

/// Sends each line of standard input, and says of each when the server has it. After the last line
/// waits for those that are on their way.
pub async fn lines(
    session: &mut Session,
    conversation: ConversationId,
    output: &Output,
) -> Result<(), Failed> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut waiting: BTreeMap<IntentId, u64> = BTreeMap::new();
    let (mut read, mut failed) = (0u64, Vec::new());
    let mut more = true;
    while more || !waiting.is_empty() {
        tokio::select! {
            line = lines.next_line(), if more && waiting.len() < ON_THE_WAY => {
                match line.map_err(|error| Failed::Input(error.kind()))? {
                    None => more = false,
                    Some(line) if line.is_empty() => {}
                    Some(line) => {
                        read = read.saturating_add(1);
                        let intent = session
                            .begin(move |client, now| client.send(now, conversation, &line))
                            .await?;
                        waiting.insert(intent, read);
                    }
                }
            }
            event = session.next() => match event? {
                Event::Done { intent, outcome: Outcome::Sent { message_id, index, undelivered, .. } } => {
                    if let Some(line) = waiting.remove(&intent) {
                        output.sent(line, conversation, message_id, index, &undelivered)?;
                    }
                }
                Event::Failed { intent, error } if waiting.remove(&intent).is_some() => {
                    failed.push(SessionError::from(error));
                }
                _ => {}
            },
        }
    }
    match failed.first() {
        None => Ok(()),
        Some(first) => Err(Failed::NotSent {
            failed: u64::try_from(failed.len()).unwrap_or(u64::MAX),
            all: read,
            first: first.clone(),
        }),
    }
}
