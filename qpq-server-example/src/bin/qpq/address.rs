//! What the user calls a conversation or a person, and which one that is.
//!
//! `@alice` is the conversation with alice, `#club` a group by its name, and digits are an id, from
//! its start. Ids and user names are given out once; the name of a group is what some member says it
//! is, so it stands for its group only behind its `#`, and only while no other has it. Where two
//! things could be meant nothing is guessed: a message to the wrong people can't be taken back.

use qpq_protocol::client::{Conversation, ConversationId, Kind, intent};
use qpq_server_example::session::Session;
use unicode_normalization::UnicodeNormalization as _;

use crate::failed::Failed;
use qpq_server_example::printable::printable;

/// Digits of an id that are enough to name it, if no other begins with them.
const SHORTEST: usize = 8;
/// Digits of an id that are shown, or more, until no other begins with them: with the version that
/// the thirteenth tells, so that a group cannot be made to begin like a conversation of two.
const SHOWN: usize = 16;

/// All conversations of this client.
pub async fn conversations(session: &mut Session) -> Result<Vec<Conversation>, Failed> {
    Ok(session.ask(intent::Conversations).await?)
}

/// The conversation that the user means, as far as this client knows.
pub async fn find_here(session: &mut Session, wanted: &str) -> Result<Conversation, Failed> {
    pick(wanted, &conversations(session).await?)
}

/// The conversation that the user means; asks the server for invitations where it is not known.
pub async fn find(session: &mut Session, wanted: &str) -> Result<Conversation, Failed> {
    match find_here(session, wanted).await {
        Err(Failed::NoConversation { .. }) if !session.is_logged_out() => {}
        other => return other,
    }
    session.sync().await?;
    find_here(session, wanted).await
}

/// A user's name, with or without an `@` before it.
pub fn user(wanted: &str) -> String {
    wanted.strip_prefix('@').unwrap_or(wanted).to_owned()
}

/// Text that somebody typed, in the form in which names are compared and stored (NFC).
pub fn typed(text: &str) -> String {
    text.nfc().collect()
}

/// What a conversation is called by: `@name`, `#name`, or its id where there is no name.
pub fn address(conversation: &Conversation) -> String {
    match (conversation.kind, conversation.name.as_str()) {
        (_, "") => conversation.id.to_string(),
        (Kind::Dm, name) => format!("@{name}"),
        (Kind::Group, name) => format!("#{name}"),
    }
}

/// The start of an id, long enough to name it among all.
pub fn short(id: ConversationId, all: &[Conversation]) -> String {
    let digits = id.to_string();
    let is_alone = |length: &usize| {
        let start = digits.get(..*length).unwrap_or(&digits);
        let others = all.iter().filter(|other| other.id != id);
        !others
            .into_iter()
            .any(|other| other.id.to_string().starts_with(start))
    };
    let length = (SHOWN..digits.len()).find(is_alone);
    let length = length.unwrap_or(digits.len());
    digits.get(..length).unwrap_or(&digits).to_owned()
}

/// The one that `wanted` names.
pub fn pick(wanted: &str, all: &[Conversation]) -> Result<Conversation, Failed> {
    let with_peer = |name: &str| -> Vec<&Conversation> {
        let is_it = |one: &&Conversation| one.kind == Kind::Dm && one.name == name;
        all.iter().filter(is_it).collect()
    };
    if let Some(name) = wanted.strip_prefix('@') {
        return only(wanted, &with_peer(name), all);
    }
    if let Some(name) = wanted.strip_prefix('#') {
        let is_it = |one: &&Conversation| {
            let name = typed(name);
            let shown = typed(&printable(&one.name));
            one.kind == Kind::Group && (typed(&one.name) == name || shown == name)
        };
        return only(wanted, &all.iter().filter(is_it).collect::<Vec<_>>(), all);
    }
    let digits = wanted.to_ascii_lowercase();
    let mut meant: Vec<&Conversation> = all
        .iter()
        .filter(|one| digits.len() >= SHORTEST && one.id.to_string().starts_with(&digits))
        .collect();
    // A whole id never loses. The start of one may be somebody's name, and the start of a group's
    // is what its maker wants it to be.
    let is_whole = meant.iter().any(|one| one.id.to_string() == digits);
    if !is_whole {
        meant.extend(with_peer(wanted));
    }
    only(wanted, &meant, all)
}

fn only(
    wanted: &str,
    meant: &[&Conversation],
    all: &[Conversation],
) -> Result<Conversation, Failed> {
    match meant {
        [one] => Ok((*one).clone()),
        [] => {
            let name = typed(wanted);
            let is_group =
                |one: &&Conversation| one.kind == Kind::Group && typed(&one.name) == name;
            Err(match all.iter().find(is_group) {
                Some(_) => Failed::MeantGroup(wanted.to_owned()),
                None => Failed::NoConversation {
                    wanted: wanted.to_owned(),
                },
            })
        }
        several => {
            let ids: Vec<String> = several.iter().map(|one| short(one.id, all)).collect();
            Err(Failed::Ambiguous {
                wanted: wanted.to_owned(),
                ids: ids.join(", "),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use qpq_protocol::client::Standing;

    use super::*;

    fn conversation(kind: Kind, name: &str, id: [u8; 16]) -> Conversation {
        Conversation {
            id: ConversationId::try_from(&id[..]).unwrap(),
            kind,
            name: name.to_owned(),
            standing: Standing::Active,
            epoch: 1,
            members: Vec::new(),
            messages: 0,
            unread: 0,
        }
    }

    fn id(first: u8, last: u8) -> [u8; 16] {
        let mut id = [first; 16];
        id[15] = last;
        id
    }

    #[test]
    fn a_name_that_others_give_never_stands_for_a_person_or_an_id() {
        let bob = conversation(Kind::Dm, "bob", id(0xab, 1));
        let like_an_id = conversation(Kind::Group, &bob.id.to_string(), id(0x01, 2));
        let like_a_person = conversation(Kind::Group, "bob", id(0x02, 3));
        let all = [like_an_id, like_a_person, bob.clone()];
        let picked = |wanted: &str| pick(wanted, &all).map(|one| one.id);
        assert_eq!(picked("bob"), Ok(bob.id));
        assert_eq!(picked("@bob"), Ok(bob.id));
        assert_eq!(picked(&bob.id.to_string()), Ok(bob.id));
        assert_eq!(picked("ABABABABABAB"), Ok(bob.id));
        assert_eq!(picked("#bob"), Ok(all[1].id));
        // Without the person there is still no group for the bare name.
        let without = pick("bob", &all[..2]);
        assert_eq!(without, Err(Failed::MeantGroup("bob".to_owned())));
    }

    #[test]
    fn where_two_could_be_meant_nothing_is_guessed() {
        let person = conversation(Kind::Dm, "abababab", id(0x77, 1));
        let group = conversation(Kind::Group, "club", id(0xab, 2));
        let other = conversation(Kind::Group, "club", id(0xab, 3));
        let all = [person, group, other];
        for wanted in ["abababab", "#club", "ababababab"] {
            let picked = pick(wanted, &all);
            assert!(
                matches!(picked, Err(Failed::Ambiguous { .. })),
                "{picked:?}"
            );
        }
        assert_eq!(pick("@abababab", &all).map(|one| one.id), Ok(all[0].id));
        for one in &all {
            assert_eq!(
                pick(&short(one.id, &all), &all).map(|one| one.id),
                Ok(one.id)
            );
            assert_eq!(
                pick(&one.id.to_string(), &all).map(|one| one.id),
                Ok(one.id)
            );
        }
        // Too short to be an id, and its end is not its start.
        for wanted in ["abab", "ababab02", ""] {
            assert!(pick(wanted, &all).is_err(), "{wanted}");
        }
    }

    #[test]
    fn a_group_is_found_by_what_is_typed_and_by_what_is_shown() {
        let composed = conversation(Kind::Group, "caf\u{e9}", id(1, 1));
        let hidden = conversation(Kind::Group, "club\u{200b}", id(2, 2));
        let all = [composed, hidden];
        assert_eq!(pick("#cafe\u{301}", &all).map(|one| one.id), Ok(all[0].id));
        assert_eq!(pick("#club\u{fffd}", &all).map(|one| one.id), Ok(all[1].id));
        assert!(pick("#club", &all).is_err());
    }

    /// Others may have written a name in any normal form, with what does not show in it.
    #[test]
    fn a_name_that_is_shown_is_found_in_the_form_of_every_keyboard() {
        let other = conversation(Kind::Group, "cafe\u{301}\u{200b}", id(1, 1));
        let all = [other];
        for wanted in ["#caf\u{e9}\u{fffd}", "#cafe\u{301}\u{fffd}"] {
            assert_eq!(pick(wanted, &all).map(|one| one.id), Ok(all[0].id));
        }
        assert_eq!(pick("caf\u{e9}", &all).ok(), None);
    }
}
