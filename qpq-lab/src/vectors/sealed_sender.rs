//! `sealed_sender`: messages that do not tell the server who wrote them.

use qpq_crypto::hybrid::{self, HybridSecret};
use qpq_crypto::identity::{Credential, DeviceId, DeviceSecret, IdentityKey, IdentitySecret};
use qpq_crypto::sealed::{self, Purpose};
use serde_json::{Value, json};

use super::VectorError;
use super::cases::{ALICE, BOB, TIME_MS, flipped, inputs as keep, seed};
use super::json::{Fields as _, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

pub(super) fn inputs() -> Result<Vec<Value>> {
    let seal = |name: &str, purpose: &str, device: String, content: &str| {
        json!({
            "name": name, "kind": "seal", "purpose": purpose, "sender_seed": seed(ALICE),
            "device_id": device, "device_seed": seed(0xd1), "created_at_ms": "1",
            "recipient_seed": seed(BOB), "counter": "3", "sent_at_ms": TIME_MS.to_string(),
            "content": digits(content), "seed": seed(3),
        })
    };
    let message = seal("a message", "message", "d0".repeat(16), "content");
    let mut cases = vec![
        message.clone(),
        seal(
            "from the default device",
            "message",
            String::new(),
            "content",
        ),
        seal("a fork report", "fork_report", "d0".repeat(16), "report"),
        seal("nothing to say", "message", "d0".repeat(16), ""),
    ];
    let sealed = replay(&message)?;
    let sealed = sealed.text("sealed")?;
    let open = |name: &str, purpose: &str, recipient: u8, counter: &str, sealed: Value| {
        json!({
            "name": name, "kind": "open", "purpose": purpose, "recipient_seed": seed(recipient),
            "counter": counter, "sealed": sealed,
        })
    };
    let last = sealed.len() / 2 - 1;
    cases.extend([
        open("whole", "message", BOB, "3", sealed.into()),
        open(
            "for another purpose",
            "fork_report",
            BOB,
            "3",
            sealed.into(),
        ),
        open("at another account", "message", ALICE, "3", sealed.into()),
        open("under an older key", "message", BOB, "2", sealed.into()),
        open(
            "a changed last byte",
            "message",
            BOB,
            "3",
            flipped(sealed, last),
        ),
        open("nothing", "message", BOB, "3", "".into()),
    ]);
    for (name, sealed) in forged()? {
        cases.push(open(name, "message", BOB, "3", digits(sealed)));
    }
    Ok(cases)
}

/// Messages that open, and whose sender did not write them.
fn forged() -> Result<Vec<(&'static str, Vec<u8>)>> {
    let broken = VectorError::Broken("a sealed message");
    let alice = IdentitySecret::from_seed([ALICE; 32]);
    let device = DeviceSecret::from_seed([0xd1; 32]);
    let genuine = Credential::issue(&alice, DeviceId::new([0xd0; 16]), device.public(), 1);
    let to = IdentitySecret::from_seed([BOB; 32]).public();
    let key = HybridSecret::derive(&[BOB; 32], 3).public();
    let device_key = device.public();
    let data = [b"qpq sealed to v1".as_slice(), &[1], to.as_bytes()].concat();
    // As the README has it; what is signed may be for another recipient.
    let inner = |credential: &[u8], signer: &DeviceSecret, recipient: &IdentityKey| {
        let length = u32::try_from(credential.len()).unwrap_or_default();
        let head = [&length.to_be_bytes()[..], credential].concat();
        let time = TIME_MS.to_be_bytes();
        let signed = [
            b"qpq sealed v1".as_slice(),
            &[1],
            recipient.as_bytes(),
            key.as_bytes(),
            &head,
            device_key.as_bytes(),
            &time,
            &7_u32.to_be_bytes(),
            b"content",
        ];
        let signature = signer.sign(&signed.concat());
        [
            &head[..],
            device_key.as_bytes(),
            &time,
            &signature,
            b"content",
        ]
        .concat()
    };
    let seal = |name, padded: &[u8]| {
        let sealed = hybrid::seal(&key, &data, padded, &[3; 32]);
        sealed
            .map(|sealed| (name, sealed))
            .map_err(|_| broken.clone())
    };
    let pad = qpq_crypto::padding::pad;
    let mut other_account = genuine;
    other_account.identity_key = to;
    let mut later = genuine;
    later.created_at_ms = 2;
    let default = Credential::issue(&alice, DeviceId::DEFAULT, device.public(), 1);
    let stranger = DeviceSecret::from_seed([0xd2; 32]);
    let [whole, of_another, of_later, of_default] =
        [genuine, other_account, later, default].map(|one| inner(&one.encode(), &device, &to));
    let shorter = genuine.encode().split_last().map(|(_, rest)| rest.to_vec());
    let shorter = inner(&shorter.unwrap_or_default(), &device, &to);
    Ok(vec![
        seal("whole, made by hand", &pad(&whole))?,
        seal("a credential in another account's name", &pad(&of_another))?,
        seal("a credential with another date", &pad(&of_later))?,
        seal(
            "a default device that is not the identity",
            &pad(&of_default),
        )?,
        seal("a credential of 119 bytes", &pad(&shorter))?,
        seal(
            "signed by another device",
            &pad(&inner(&genuine.encode(), &stranger, &to)),
        )?,
        seal(
            "signed for somebody else",
            &pad(&inner(&genuine.encode(), &device, &alice.public())),
        )?,
        seal("not padded", &whole)?,
        seal("nothing inside", &pad(b""))?,
    ])
}

pub(super) fn replay(case: &Value) -> Result<Value> {
    let purpose = match case.text("purpose")? {
        "message" => Purpose::Message,
        "fork_report" => Purpose::ForkReport,
        _ => return Err(wrong("purpose", "message or fork_report")),
    };
    let recipient = IdentitySecret::from_seed(case.array("recipient_seed")?).public();
    let secret = HybridSecret::derive(&case.array("recipient_seed")?, case.number("counter")?);
    match case.text("kind")? {
        "seal" => seal(case, purpose, &recipient, &secret),
        "open" => {
            let names = [
                "name",
                "kind",
                "purpose",
                "recipient_seed",
                "counter",
                "sealed",
            ];
            let mut out = keep(case, &names)?;
            let opened = sealed::open(purpose, &secret, &recipient, &case.bytes("sealed")?);
            out["opened"] = match opened {
                Ok(message) => json!({
                    "credential": digits(message.sender.encode()),
                    "device_key": digits(message.device_key),
                    "sent_at_ms": message.sent_at_ms.to_string(),
                    "content": digits(message.content),
                }),
                Err(_) => Value::Null,
            };
            Ok(out)
        }
        _ => Err(wrong("kind", "seal or open")),
    }
}

fn seal(
    case: &Value,
    purpose: Purpose,
    recipient: &IdentityKey,
    secret: &HybridSecret,
) -> Result<Value> {
    let names = [
        "name",
        "kind",
        "purpose",
        "sender_seed",
        "device_id",
        "device_seed",
        "created_at_ms",
        "recipient_seed",
        "counter",
        "sent_at_ms",
        "content",
        "seed",
    ];
    let mut out = keep(case, &names)?;
    let sender = IdentitySecret::from_seed(case.array("sender_seed")?);
    let id = DeviceId::from_wire(&case.bytes("device_id")?);
    let id = id.map_err(|_| wrong("device_id", "16 bytes or none"))?;
    let device = match id.is_default() {
        true => sender.default_device(),
        false => DeviceSecret::from_seed(case.array("device_seed")?),
    };
    let created_at_ms = case.number("created_at_ms")?;
    let credential = Credential::issue(&sender, id, device.public(), created_at_ms);
    let sealed = sealed::seal(
        purpose,
        (&device, &credential),
        (recipient, &secret.public()),
        case.number("sent_at_ms")?,
        &case.bytes("content")?,
        &case.array("seed")?,
    );
    out["credential"] = digits(credential.encode());
    out["sealed"] = digits(sealed.map_err(|_| VectorError::Broken("a sealed message"))?);
    Ok(out)
}
