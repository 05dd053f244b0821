//! Deadlines of a connection: requests that do not arrive, answers that are not taken, logins that are not
//! finished, strangers who are silent (protocol.md §5.27).
//!
//! They move with each byte, so one timer a connection looks after all of them: it never fires late, and
//! when it fires early it is set again.

use super::Server;
use super::timers::Timer;
use crate::ids::ConnId;
use crate::status::AppCode;
use crate::time::Time;

impl Server {
    /// Sees to it that the connection is looked at by then.
    fn check_by(&mut self, conn: ConnId, at: Time) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            let timer = Timer::Connection(conn);
            self.timers
                .bring_forward(&mut connection.check_at, at, timer);
        }
    }

    /// Nothing may happen on the connection any more.
    pub(super) fn check_when_silent(&mut self, conn: ConnId) {
        let limits = &self.config.limits;
        let connection = self.connections.get(&conn);
        if let Some(at) = connection.and_then(|connection| connection.silent_at(limits)) {
            self.check_by(conn, at);
        }
    }

    /// A connection's timer: what has not moved for too long is given up.
    pub(super) fn check_connection(&mut self, conn: ConnId) {
        let now = self.clock.now();
        let limits = &self.config.limits;
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        connection.check_at = None;
        if connection.closing {
            return;
        }
        let is_over = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if is_over(self.charges.unsent_due(conn)) || is_over(connection.silent_at(limits)) {
            return self.close_connection(conn, AppCode::Timeout);
        }
        if is_over(connection.login.as_ref().map(|slot| slot.expires)) {
            connection.login = None;
        }
        let late: Vec<u64> = connection
            .streams
            .iter()
            .filter(|(_, open)| is_over(open.due(limits)))
            .map(|(stream, _)| *stream)
            .collect();
        for stream in late {
            self.reset_stream(conn, stream, AppCode::Timeout);
        }
        let limits = &self.config.limits;
        let connection = self.connections.get(&conn);
        let of_connection = connection.and_then(|connection| connection.due(limits));
        let of_unsent = connection.and_then(|_| self.charges.unsent_due(conn));
        if let Some(at) = of_connection.into_iter().chain(of_unsent).min() {
            self.check_by(conn, at);
        }
    }
}
