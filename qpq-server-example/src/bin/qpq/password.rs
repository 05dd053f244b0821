//! Where the password comes from: `QPQ_PASSWORD`, or a prompt that shows nothing.
//!
//! What a person typed is prepared as an OpaqueString (RFC 8265 section 4.2), so that it is the same
//! password on every keyboard: a letter with its accent is one character or two, and a space one of
//! many.

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::profile::PrecisFastInvocation as _;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::failed::Failed;

/// The environment variable that holds the password.
const VARIABLE: &str = "QPQ_PASSWORD";

/// The password for `name`; a new one is asked for twice.
pub async fn get(name: &str, is_new: bool) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let password = match std::env::var_os(VARIABLE) {
        Some(password) => password
            .into_string()
            .map(Zeroizing::new)
            .map_err(|_| Failed::BadPassword)?,
        None => {
            let text = format!("Password for {name}: ");
            // People type slowly, and the connection must be kept up meanwhile.
            spawn_blocking(move || ask(&text, is_new))
                .await
                .map_err(|_| Failed::NoPassword)??
        }
    };
    prepared(&password)
}

/// The password as both ends hash it.
fn prepared(typed: &str) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let prepared = OpaqueString::enforce(typed).map_err(|_| Failed::BadPassword)?;
    Ok(Zeroizing::new(prepared.into_owned().into_bytes()))
}

fn ask(text: &str, is_new: bool) -> Result<Zeroizing<String>, Failed> {
    let password = prompt(text)?;
    if is_new && prompt("The same again: ")? != password {
        return Err(Failed::PasswordsDiffer);
    }
    Ok(password)
}

fn prompt(text: &str) -> Result<Zeroizing<String>, Failed> {
    rpassword::prompt_password(text)
        .map(Zeroizing::new)
        .map_err(|_| Failed::NoPassword)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_password_is_one_whatever_the_keyboard_makes_of_it() {
        let prepared = |typed| prepared(typed).map(|bytes| bytes.to_vec());
        // RFC 8265 section 4.3.
        for same in [
            "correct horse battery staple",
            "Correct Horse Battery Staple",
            "πßå",
            "Jack of ♦s",
        ] {
            assert_eq!(prepared(same), Ok(same.as_bytes().to_vec()));
        }
        assert_eq!(prepared("foo\u{1680}bar"), Ok(b"foo bar".to_vec()));
        assert_eq!(prepared("cafe\u{301}"), Ok("caf\u{e9}".as_bytes().to_vec()));
        for bad in ["", "my cat is a \tby"] {
            assert_eq!(prepared(bad), Err(Failed::BadPassword), "{bad}");
        }
    }
}
