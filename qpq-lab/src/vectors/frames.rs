//! `frames`: whole streams, read by our decoder in pieces of every size.

use bytes::{Bytes, BytesMut};
use qpq_protocol::frame::{
    Decoded, Decoder, FrameError, Header, PushHeader, RequestHeader, ResponseHeader,
};
use qpq_protocol::status::Status;
use serde_json::{Value, json};

use super::VectorError;
use super::json::{Fields as _, difference, digits, wrong};

type Result<T> = core::result::Result<T, VectorError>;

/// Streams longer than this are not read byte by byte.
const SHORT: usize = 1000;

pub(super) fn check(file: &Value) -> Result<usize> {
    let cases = file.list("cases")?;
    for case in cases {
        let name = case.text("name")?;
        let checked = match case.text("stream")? {
            "request" => stream::<RequestHeader>(case),
            "response" => stream::<ResponseHeader>(case),
            "push" => stream::<PushHeader>(case),
            _ => Err(wrong("stream", "a known kind")),
        };
        checked.map_err(|error| error.inside(name))?;
    }
    Ok(cases.len())
}

/// A header in a file.
trait Shown: Header + Copy {
    fn show(&self) -> Value;
    fn from_json(frame: &Value, payload_len: u32) -> Result<Self>;
}

impl Shown for RequestHeader {
    fn show(&self) -> Value {
        json!({"method_id": self.method_id, "request_id": self.request_id})
    }

    fn from_json(frame: &Value, payload_len: u32) -> Result<Self> {
        Ok(Self {
            method_id: frame.number("method_id")?,
            request_id: frame.number("request_id")?,
            payload_len,
        })
    }
}

impl Shown for ResponseHeader {
    fn show(&self) -> Value {
        json!({"status": self.status.code(), "request_id": self.request_id})
    }

    fn from_json(frame: &Value, payload_len: u32) -> Result<Self> {
        let status = Status::from_code(frame.number("status")?);
        Ok(Self {
            status: status.ok_or_else(|| wrong("status", "a known status"))?,
            request_id: frame.number("request_id")?,
            payload_len,
        })
    }
}

impl Shown for PushHeader {
    fn show(&self) -> Value {
        json!({"event_type": self.event_type})
    }

    fn from_json(frame: &Value, payload_len: u32) -> Result<Self> {
        Ok(Self {
            event_type: frame.number("event_type")?,
            payload_len,
        })
    }
}

fn stream<H: Shown>(case: &Value) -> Result<()> {
    let stream = content(case, "bytes", "filler")?;
    let mut expected = Vec::new();
    for frame in case.list("frames")? {
        let payload = content(frame, "payload", "payload_filler")?;
        expected.push((frame, payload));
    }
    let sizes: &[usize] = match stream.len() < SHORT {
        true => &[1, 2, 3, 7, usize::MAX],
        false => &[1201, 65_536, usize::MAX],
    };
    for size in sizes {
        let (found, end) = read::<H>(&stream, *size);
        let here = json!({"end": end.0, "app_code": end.1, "frames": found.len()});
        let file = json!({
            "end": case.text("end")?,
            "app_code": case.field("app_code")?,
            "frames": expected.len(),
        });
        difference(&file, &here).map_or(Ok(()), Err)?;
        for (number, ((header, payload), (frame, wanted))) in
            found.iter().zip(&expected).enumerate()
        {
            let mut file = (*frame).clone();
            let mut here = header.show();
            for name in ["payload", "payload_filler"] {
                if let Some(fields) = file.as_object_mut() {
                    fields.remove(name);
                }
            }
            file["payload"] = digits(wanted);
            here["payload"] = digits(payload);
            let differs = difference(&file, &here).map_or(Ok(()), Err);
            differs.map_err(|error| error.inside(&format!("frames[{number}]")))?;
        }
    }
    // A status that was replaced is not written as it came.
    if case.text("end")? == "ok" && !case.text("name")?.contains("reads as") {
        let mut written = BytesMut::new();
        for (frame, payload) in &expected {
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
            H::from_json(frame, length)?.write(&mut written);
            written.extend_from_slice(payload);
        }
        let (file, here) = (
            json!({"bytes": digits(stream)}),
            json!({"bytes": digits(written)}),
        );
        difference(&file, &here).map_or(Ok(()), Err)?;
    }
    Ok(())
}

/// Frames that were found, and how the stream ended: its word in a file and the code.
type Found<H> = (Vec<(H, Bytes)>, (&'static str, u64));

/// The frames of a stream that comes in pieces of `size` bytes.
fn read<H: Shown>(stream: &Bytes, size: usize) -> Found<H> {
    let mut decoder = Decoder::<H>::new();
    let mut frames = Vec::new();
    let mut header = None;
    let mut rest = stream.clone();
    while !rest.is_empty() {
        let mut piece = rest.split_to(size.min(rest.len()));
        loop {
            match decoder.decode(&mut piece) {
                Ok(None) => break,
                Ok(Some(Decoded::Header(whole))) => header = Some(whole),
                Ok(Some(Decoded::Payload(payload))) => {
                    frames.extend(header.take().map(|header| (header, payload)));
                }
                // Only on request.
                Ok(Some(Decoded::Skipped)) => return (frames, ("skipped", 0)),
                Err(error) => return (frames, end_of(&error)),
            }
        }
    }
    match decoder.finish() {
        Ok(()) => (frames, ("ok", 0)),
        Err(error) => (frames, end_of(&error)),
    }
}

fn end_of(error: &FrameError) -> (&'static str, u64) {
    let word = match error {
        FrameError::FinInsideFrame => "fin_inside_frame",
        FrameError::TrailingBytes => "trailing_bytes",
        FrameError::TooLarge { .. } => "too_large",
    };
    (word, error.app_code().code())
}

/// Bytes of a case: hexadecimal, then the filler.
fn content(case: &Value, bytes: &str, filler: &str) -> Result<Bytes> {
    let mut content = match case.get_field(bytes) {
        Some(_) => case.bytes(bytes)?,
        None => Vec::new(),
    };
    if let Some(filler) = case.get_field(filler) {
        let [byte] = filler.array("byte")?;
        let count: usize = filler.number("count")?;
        content.resize(content.len().saturating_add(count), byte);
    }
    Ok(content.into())
}
