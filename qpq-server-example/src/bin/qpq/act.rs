//! Acts that outlive their command: what cannot be done at once is kept, or taken back.

use qpq_protocol::client::{Intent, Outcome, intent};
use qpq_server_example::session::{Session, SessionError};

use crate::args::Keep;
use crate::failed::Failed;

/// States an intent and waits for its end.
pub async fn act(
    session: &mut Session,
    keep: Keep,
    intent: impl Into<Intent>,
) -> Result<Outcome, Failed> {
    let (kept, why) = match session.ask(intent).await {
        Err(SessionError::Kept { kept, why }) if keep.no_keep => (kept, why),
        other => return Ok(other?),
    };
    match session.ask(intent::TakeBack(kept)).await {
        Ok(_) => Err(Failed::TakenBack(Box::new((*why).into()))),
        // It may be with the server already: then it is not said that it will not happen.
        Err(_) => Err(SessionError::Kept { kept, why }.into()),
    }
}
