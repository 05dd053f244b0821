//! Sockets of the system.

use std::net::{SocketAddr, UdpSocket};

use qpq_protocol::quic::OpenError;
use quinn_udp::UdpSocketState;

/// A socket of this address, and what is known of it.
pub(crate) fn bind(
    address: SocketAddr,
    is_server: bool,
) -> Result<(UdpSocket, UdpSocketState), OpenError> {
    let socket = UdpSocket::bind(address).map_err(|e| OpenError::socket(address, &e))?;
    let udp = UdpSocketState::new((&socket).into())?;
    if !is_server {
        // Without it, a server that does not run is noticed by its silence only.
        udp.enable_transport_errors((&socket).into())?;
    }
    Ok((socket, udp))
}
