//! Where the password comes from: `QPQ_PASSWORD`, or a prompt that shows nothing.

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
    match password.is_empty() {
        true => Err(Failed::BadPassword),
        false => Ok(Zeroizing::new(password.as_bytes().to_vec())),
    }
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
