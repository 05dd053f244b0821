//! The devices of the account, and the safety number that two people compare.

use qpq_crypto::safety::ScanError;
use qpq_protocol::client::{Account, DeviceInfo, IntentError, intent};
use qpq_protocol::ids::DeviceId;
use qpq_server_example::hex::{hex, unhex};
use qpq_server_example::session::{Session, SessionError};

use crate::failed::Failed;
use crate::output::{FIRST_DEVICE, Output};
use crate::password;

/// Digits of an id that are enough to name a device.
const SHORTEST: usize = 4;

pub async fn list(session: &mut Session, output: &Output) -> Result<(), Failed> {
    for device in all(session).await? {
        output.device(&device)?;
    }
    Ok(())
}

pub async fn remove(session: &mut Session, wanted: &str, output: &Output) -> Result<(), Failed> {
    let device = pick(wanted, &all(session).await?)?;
    session.ask(intent::RemoveDevice(device)).await?;
    output.device_removed(device)
}

/// Logs in. Where the account has no room for another device, says which it has; `remove` names the
/// one that makes room.
pub async fn log_in(
    session: &mut Session,
    name: &str,
    remove: Option<String>,
    output: &Output,
) -> Result<Account, Failed> {
    let password = password::get(name, false).await?;
    let login = intent::Login::new(name, password);
    let devices = match session.ask_without_session(login.clone()).await {
        Err(SessionError::Intent(IntentError::TooManyDevices { devices })) => devices,
        other => return Ok(other?),
    };
    let Some(wanted) = remove else {
        for device in &devices {
            output.device(device)?;
        }
        return Err(Failed::NoRoom {
            name: name.to_owned(),
            devices: devices.len(),
        });
    };
    let device = pick(&wanted, &devices)?;
    let asked = session.ask_without_session(intent::Login {
        in_place_of: Some(device),
        ..login
    });
    Ok(asked.await?)
}

pub async fn verify(
    session: &mut Session,
    user: String,
    scanned: Option<String>,
    output: &Output,
) -> Result<(), Failed> {
    let (person, number) = session.ask(intent::SafetyNumber(user)).await?;
    output.safety_number(&person, &number)?;
    let Some(scanned) = scanned else {
        return Ok(());
    };
    let payload = unhex::<{ qpq_crypto::safety::QR_PAYLOAD_LENGTH }>(scanned.trim());
    match number.check_scanned(&payload.ok_or(Failed::NoSafetyNumber)?) {
        Ok(()) => output.line(
            "it is the same: nobody sits between you",
            &serde_json::json!({ "type": "verified" }),
        ),
        Err(ScanError::Different) => Err(Failed::SafetyNumbersDiffer),
        Err(ScanError::NotASafetyNumber | ScanError::UnknownVersion) => Err(Failed::NoSafetyNumber),
    }
}

async fn all(session: &mut Session) -> Result<Vec<DeviceInfo>, Failed> {
    Ok(session.ask(intent::Devices).await?)
}

/// The device that the user means: by its id, from its start.
fn pick(wanted: &str, all: &[DeviceInfo]) -> Result<DeviceId, Failed> {
    let digits = wanted.to_ascii_lowercase();
    if digits != FIRST_DEVICE && digits.len() < SHORTEST {
        return Err(Failed::ShortDevice(wanted.to_owned()));
    }
    let is_it = |info: &&DeviceInfo| match info.device_id.as_bytes() {
        [] => digits == FIRST_DEVICE,
        id => hex(id).starts_with(&digits),
    };
    let meant: Vec<&DeviceInfo> = all.iter().filter(is_it).collect();
    match meant.as_slice() {
        [one] => Ok(one.device_id),
        [] => Err(Failed::NoDevice(wanted.to_owned())),
        _ => Err(Failed::ShortDevice(wanted.to_owned())),
    }
}
