//! One line a method: its handler, and what the machinery has to know of it. A method without a line is not in this
//! version of the server, and is answered Unavailable.

use bytes::Bytes;

use super::caller::Caller;
use super::checks::call_checked;
use super::ctx::Ctx;
use super::fault::Fault;
use super::line::{Answer, Line, Special};
use super::services::{
    auth, channel, delivery, devices, group, hybrid_keys, info, key_packages, user,
};
use super::step::Next;
use crate::method::{Method, rpc};

macro_rules! table {
    ($($method:ident => $handler:path, $answer:ident $(, $special:ident)*;)*) => {
        /// The line of a method.
        pub(super) const fn line(method: Method) -> Line {
            match method {
                $(
                    Method::$method => Line {
                        answer: Answer::$answer,
                        special: &[$(Special::$special),*],
                    },
                )*
                _ => Line {
                    answer: Answer::Short,
                    special: &[],
                },
            }
        }

        /// Calls the handler of a method, if the caller may call it.
        pub(super) fn call(
            ctx: &mut Ctx<'_>,
            caller: &Caller,
            method: Method,
            payload: Bytes,
        ) -> Next {
            match method {
                $(
                    Method::$method => {
                        const LINE: Line = line(Method::$method);
                        call_checked::<rpc::$method>(ctx, caller, &LINE, payload, $handler)
                    }
                )*
                _ => Err(Fault::unavailable(format!(
                    "{} is not in this version of the server",
                    method.name()
                ))),
            }
        }
    };
}

table! {
    OpaqueRegisterStart => auth::register_start, Short, Paced, Login;
    OpaqueRegisterFinish => auth::register_finish, Short, Paced, Login;
    OpaqueLoginStart => auth::login_start, Short, Paced, Login;
    OpaqueLoginFinish => auth::login_finish, Short, Paced, Login;
    ResumeSession => auth::resume, Short, Paced, Login;
    Logout => auth::logout, Short, Unregistered;

    Enqueue => delivery::enqueue, Short;
    Fetch => delivery::fetch, Long;
    FetchWait => delivery::fetch_wait, Long;
    Peek => delivery::peek, Long;
    Ack => delivery::ack, Short;
    BatchEnqueue => delivery::batch_enqueue, Long;
    SubmitCommit => delivery::submit_commit, Short;
    ListQueues => delivery::list_queues, Long;

    UploadKeyPackage => key_packages::upload_key_package, Short;
    FetchKeyPackage => key_packages::fetch_key_package, Long;
    UploadHybridKey => hybrid_keys::upload_hybrid_key, Short;
    FetchHybridKey => hybrid_keys::fetch_hybrid_key, Long;
    FetchHybridKeys => hybrid_keys::fetch_hybrid_keys, Long;
    FetchKeyPackages => key_packages::fetch_key_packages, Long;
    CountKeyPackages => key_packages::count_key_packages, Short;

    CreateChannel => channel::create_channel, Short;
    RemoveMember => group::remove_member, Short;
    ListGroupMembers => group::list_group_members, Long;
    RotateKeys => group::rotate_keys, Short;
    AddMember => group::add_member, Short;
    GetGroupInfo => group::get_group_info, Long;

    ResolveUser => user::resolve_user, Short, Paced, Unregistered;
    ResolveIdentity => user::resolve_identity, Short, Paced, Unregistered;

    RegisterDevice => devices::register_device, Short, Unregistered;
    ListDevices => devices::list_devices, Long, Unregistered;
    RevokeDevice => devices::revoke_device, Short, Unregistered;

    Health => info::health, Short, Draining, Unregistered;
    GetServerInfo => info::server_info, Short, Draining, Unregistered;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(which: impl Fn(&Line) -> bool) -> Vec<u16> {
        let all = Method::ALL.iter().filter(|method| which(&line(**method)));
        all.map(|method| method.id()).collect()
    }

    /// Strangers have no part in the pool of long answers.
    #[test]
    fn no_long_answer_is_for_strangers() {
        let all = Method::ALL.iter();
        let mut open = all.filter(|method| method.caller() == crate::method::Caller::Anonymous);
        assert!(open.all(|method| !line(*method).has_long_answer()));
    }

    #[test]
    fn what_is_special_is_special_to_these() {
        assert_eq!(ids(Line::is_paced), [100, 101, 102, 103, 104, 500, 501]);
        assert_eq!(ids(Line::is_login), [100, 101, 102, 103, 104]);
        assert_eq!(ids(Line::is_answered_while_draining), [802, 803]);
        let open = [105, 500, 501, 700, 701, 702, 802, 803];
        assert_eq!(ids(Line::is_open_to_unregistered), open);
        assert_eq!(
            ids(Line::has_long_answer),
            [201, 202, 203, 205, 207, 301, 303, 304, 305, 412, 416, 701]
        );
    }
}
