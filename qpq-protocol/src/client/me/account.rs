//! The session: taken up again on each connection, its device registered, ended.
//!
//! A session on a device that is not registered may do almost nothing, so a device of our own is
//! registered before anything else is asked for (protocol.md §5.18).

use super::packages::Packages;
use crate::client::error::{DisconnectReason, IntentError};
use crate::client::event::Event;
use crate::client::keep::record::ServerRecord;
use crate::client::link::chain::Heard;
use crate::client::link::connection::Session;
use crate::client::link::login::Login;
use crate::client::link::rpc::{Answer, Then};
use crate::client::link::timers::Timer;
use crate::client::me::identity::Me;
use crate::client::outcome::Outcome;
use crate::client::{Client, MAX_DEVICE_NAME};
use crate::ids::IntentId;
use crate::method::rpc;
use crate::proto;
use crate::status::Status;

impl Client {
    /// The connection stands: asks who the server is.
    pub(in crate::client) fn start_session(&mut self) {
        let request = proto::GetServerInfoRequest {};
        self.call::<rpc::GetServerInfo>(&request, Then::ServerInfo);
    }

    /// Asks for the session back, unless there is one or a login is under way. A token is shown only
    /// to a server that has said that it is the one that gave it.
    pub(in crate::client) fn resume_if_wanted(&mut self) {
        if !self.link.is_up()
            || self.link.session() != Session::Anonymous
            || self.server_domain().is_none()
            || !matches!(self.login, Login::Idle | Login::Settling(_))
            || self.link.is_asked(&Then::Resume)
        {
            return;
        }
        let has_token = self.state.me.as_ref().is_some_and(|me| me.token.is_some());
        if !has_token {
            return;
        }
        let chain = self.show_opening();
        if let Some(request) = self.resume_request(chain) {
            self.call::<rpc::ResumeSession>(&request, Then::Resume);
        }
    }

    /// Asks for the session with these openings.
    pub(in crate::client) fn resume_request(
        &self,
        chain: proto::Chain,
    ) -> Option<proto::ResumeSessionRequest> {
        let me = self.state.me.as_ref()?;
        Some(proto::ResumeSessionRequest {
            auth: Some(proto::Auth {
                access_token: me.token.as_ref()?.to_vec().into(),
                device_id: me.device_id.as_bytes().to_vec().into(),
            }),
            chain: Some(chain),
        })
    }

    pub(in crate::client) fn on_server_info(&mut self, answer: Answer<rpc::GetServerInfo>) {
        let info = match answer {
            Ok(info) => info,
            // It has just started, and still reads its storage.
            Err(fault) if fault.is_passing() => return self.disconnect(DisconnectReason::Lost),
            Err(_) => return self.disconnect(DisconnectReason::Protocol),
        };
        if info.signing_key.len() != 32 || info.domain.is_empty() {
            self.disconnect(DisconnectReason::Protocol);
            return;
        }
        let record = ServerRecord {
            domain: info.domain.clone(),
            signing_key: info.signing_key.to_vec(),
        };
        if !self.know_server(record) {
            return self.refuse_server();
        }
        self.keep_server_info(info);
        self.continue_login();
    }

    /// This is not the server that the account was made at: nothing is shown to it.
    fn refuse_server(&mut self) {
        self.disconnect(DisconnectReason::OtherServer);
        self.fail_at_server(&IntentError::OtherServer);
    }

    pub(in crate::client) fn on_resumed(&mut self, answer: Answer<rpc::ResumeSession>) {
        match answer {
            Ok(answer) => {
                let own = self.state.identity_key();
                if own.is_some_and(|own| own.as_bytes() == answer.identity_key.as_ref()) {
                    self.opening_confirmed(&Heard {
                        last: &answer.last,
                        server_time_ms: answer.server_time_ms,
                        server_epoch: answer.server_epoch,
                    });
                    self.session_known();
                } else {
                    self.disconnect(DisconnectReason::Protocol);
                }
            }
            Err(fault) if fault.is_passing() => self.disconnect(DisconnectReason::Lost),
            Err(_) => self.forget_session(),
        }
    }

    pub(super) fn forget_session(&mut self) {
        if let Some(me) = &mut self.state.me {
            me.token = None;
            me.save(&mut self.writer);
        }
        self.link.set_session(Session::Anonymous);
        if let Login::Settling(intent) = self.login {
            self.login = Login::Idle;
            self.fail(intent, IntentError::NotLoggedIn);
        }
        self.writer.emit(Event::LoggedOut);
    }

    /// The server was set back to before this device was registered: it is, over the next connection.
    pub(in crate::client) fn forget_registration(&mut self) {
        if let Some(me) = &mut self.state.me {
            me.registered = false;
            me.save(&mut self.writer);
        }
    }

    /// The server does not know the session any more: a new connection finds out for sure.
    pub(in crate::client) fn session_lost(&mut self) {
        self.disconnect(DisconnectReason::Lost);
    }

    pub(in crate::client) fn session_known(&mut self) {
        self.link.set_session(Session::Known);
        match &self.state.me {
            Some(me) if me.registered => self.session_ready(),
            _ => self.register_device(),
        }
    }

    pub(in crate::client) fn register_device(&mut self) {
        let Some(me) = self
            .state
            .me
            .as_ref()
            .filter(|_| self.link.session() == Session::Known)
        else {
            return;
        };
        let credential = me.credential();
        let request = proto::RegisterDeviceRequest {
            device: Some(proto::Device {
                device_id: me.device_id.as_bytes().to_vec().into(),
                device_key: me.device.public().as_bytes().to_vec().into(),
                name: self.device_name(),
                certificate: credential
                    .certificate
                    .map_or_else(Vec::new, |c| c.to_vec())
                    .into(),
                created_at_ms: credential.created_at_ms,
                last_seen_ms: 0,
            }),
        };
        self.call::<rpc::RegisterDevice>(&request, Then::RegisterDevice);
    }

    /// What the device is called. A login refuses a name that is too long; one that is given at a
    /// later start is not worth a session.
    fn device_name(&self) -> String {
        let name = &self.config.device_name;
        match name.len() {
            0..=MAX_DEVICE_NAME => name.clone(),
            _ => String::new(),
        }
    }

    pub(in crate::client) fn on_device_registered(&mut self, answer: Answer<rpc::RegisterDevice>) {
        match answer {
            Ok(_) => {
                if let Some(me) = &mut self.state.me {
                    me.registered = true;
                    me.save(&mut self.writer);
                }
                self.session_ready();
            }
            Err(fault) => {
                if let Login::Settling(intent) = self.login {
                    if fault.status == Status::QuotaExceeded {
                        return self.find_room(intent);
                    }
                    let message = fault.message;
                    self.fail(intent, IntentError::Refused { message });
                }
                self.forget_session();
            }
        }
    }

    /// Everything can be asked for: takes up whatever the state says is not finished.
    fn session_ready(&mut self) {
        self.link.set_session(Session::Ready);
        if let Some(account) = self.state.me.as_ref().map(Me::account) {
            self.writer.emit(Event::LoggedIn { account });
        }
        self.start_sync();
        self.tend_packages();
        self.ask_names();
        let conversations: Vec<_> = self.state.conversations.keys().copied().collect();
        for conversation in conversations {
            self.drive(conversation);
        }
    }

    /// A login is over when others can add the device.
    pub(super) fn settle_login(&mut self) {
        if let (Login::Settling(intent), Some(me)) = (&self.login, &self.state.me) {
            let (intent, account) = (*intent, me.account());
            self.login = Login::Idle;
            self.done(intent, Outcome::LoggedIn(account));
        }
    }

    pub(in crate::client) fn is_logging_out(&self) -> bool {
        let is_logout = |then: &Then| matches!(then, Then::Logout(_));
        self.link.any_asked(is_logout)
    }

    pub(in crate::client) fn on_logged_out(
        &mut self,
        intent: IntentId,
        answer: Answer<rpc::Logout>,
    ) {
        match answer {
            Ok(_) => {
                self.done(intent, Outcome::LoggedOut);
                self.forget_session();
            }
            Err(fault) => {
                let message = fault.message;
                self.fail(intent, IntentError::Refused { message });
            }
        }
    }

    /// Everything that was asked for over the connection is void.
    pub(in crate::client) fn connection_lost(&mut self) {
        self.login = self.take_login().restarted();
        self.timers.cancel(Timer::Device);
        self.forget_asked_names();
        self.forget_inbox();
        self.forget_work();
        self.forget_chain();
        self.forget_rejoins();
        self.forget_doubts();
        self.is_hybrid_key_tried = false;
        self.packages = Packages::default();
        self.won.clear();
        self.timers.cancel(Timer::Packages);
    }
}
