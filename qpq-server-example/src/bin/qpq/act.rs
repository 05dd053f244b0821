//! Acts that outlive their command: what cannot be done at once is kept, or taken back.

use qpq_protocol::client::intent;
use qpq_server_example::session::{ForClients, Session, SessionError};

use crate::args::Keep;
use crate::failed::Failed;

/// Asks for something and waits for its end.
pub async fn act<A: ForClients>(
    session: &mut Session,
    keep: Keep,
    asked: A,
) -> Result<A::End, Failed> {
    let (kept, why) = match session.ask(asked).await {
        Err(SessionError::Kept { kept, why }) if keep.no_keep => (kept, why),
        other => return Ok(other?),
    };
    match session.ask(intent::TakeBack(kept)).await {
        Ok(()) => Err(Failed::TakenBack(Box::new((*why).into()))),
        // It may be with the server already: then it is not said that it will not happen.
        Err(_) => Err(SessionError::Kept { kept, why }.into()),
    }
}
