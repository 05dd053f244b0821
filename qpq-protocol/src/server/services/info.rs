//! What the server says of itself (methods 802 and 803).

use bytes::Bytes;

use crate::frame::MAX_PAYLOAD;
use crate::proto::{GetServerInfoRequest, GetServerInfoResponse, HealthRequest, HealthResponse};
use crate::server::caller::Caller;
use crate::server::ctx::Ctx;
use crate::server::step::{Next, Step};

/// The version of the wire, told by the ALPN token `qpq` (protocol.md §6).
const WIRE_VERSION: u32 = 1;

/// 802: whether the server serves.
pub(in crate::server) fn health(
    ctx: &mut Ctx<'_>,
    _: &Caller,
    _: HealthRequest,
) -> Next<HealthResponse> {
    let status = if ctx.draining { "draining" } else { "ok" };
    let uptime = ctx.now.since(ctx.started).as_millis();
    Ok(Step::ok(&HealthResponse {
        status: status.to_owned(),
        uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
        version: ctx.config.version.clone(),
    }))
}

/// 803: what a client must know before it registers.
///
/// `tag_key` stays empty (tags are the SHA-256 of the name, protocol.md §5.25), and so does
/// `report_key` (this version takes no reports).
pub(in crate::server) fn server_info(
    ctx: &mut Ctx<'_>,
    _: &Caller,
    _: GetServerInfoRequest,
) -> Next<GetServerInfoResponse> {
    let suites = ctx.config.ciphersuites.iter();
    Ok(Step::ok(&GetServerInfoResponse {
        domain: ctx.config.domain.clone(),
        signing_key: Bytes::copy_from_slice(ctx.keys.public.as_bytes()),
        ciphersuites: suites.copied().map(u64::from).collect(),
        max_payload: u32::try_from(MAX_PAYLOAD).unwrap_or(u32::MAX),
        wire_version: WIRE_VERSION,
        features: Vec::new(),
        tag_key: Bytes::new(),
        report_key: Bytes::new(),
    }))
}
