//! What a runtime gives.

use std::io;
use std::net::UdpSocket;
use std::time::Instant;

use qpq_protocol::quic::OpenError;

/// A socket, as the system's calls take it.
#[cfg(unix)]
pub type SocketRef<'a> = std::os::fd::BorrowedFd<'a>;
/// A socket, as the system's calls take it.
#[cfg(windows)]
pub type SocketRef<'a> = std::os::windows::io::BorrowedSocket<'a>;

/// The socket of a runtime's type, as the system's calls take it.
#[cfg(unix)]
pub fn borrow(socket: &impl std::os::fd::AsFd) -> SocketRef<'_> {
    socket.as_fd()
}
/// The socket of a runtime's type, as the system's calls take it.
#[cfg(windows)]
pub fn borrow(socket: &impl std::os::windows::io::AsSocket) -> SocketRef<'_> {
    socket.as_socket()
}

/// A socket and a timer of a runtime's.
pub trait Runtime: Send + Sized + 'static {
    /// Takes the socket over.
    ///
    /// # Errors
    /// [`OpenError`] if the runtime is not there, or does not take it.
    fn new(socket: UdpSocket) -> Result<Self, OpenError>;

    /// Runs the loop until it ends by itself.
    ///
    /// # Errors
    /// Those of the system, where that needs a thread.
    fn spawn(driver: impl Future<Output = ()> + Send + 'static) -> io::Result<()>;

    /// The runtime's clock.
    fn now() -> Instant;

    /// The socket, for what does not wait.
    fn socket(&self) -> SocketRef<'_>;

    /// Tries to read from the socket, and notes that there is nothing more if that says `WouldBlock`.
    ///
    /// # Errors
    /// Those of `read`.
    fn read<T>(&self, read: impl FnMut(SocketRef<'_>) -> io::Result<T>) -> io::Result<T>;

    /// Tries to write to the socket, and notes that there is no room if that says `WouldBlock`.
    ///
    /// # Errors
    /// Those of `write`.
    fn write<T>(&self, write: impl FnMut(SocketRef<'_>) -> io::Result<T>) -> io::Result<T>;

    /// Returns the message when there is one, and nothing when the socket may be read (or, if asked, written) again
    /// or the time has come. If that is past already, it lets other tasks run first.
    fn wait<T: Send>(
        &mut self,
        until: Instant,
        writable: bool,
        message: impl Future<Output = Option<T>> + Send,
    ) -> impl Future<Output = Option<T>> + Send;
}
