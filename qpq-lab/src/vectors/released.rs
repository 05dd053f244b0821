//! Files that a release had: `released.sha256` names each with its SHA-256, as `sha256sum` writes it.
//!
//! Nothing is released yet. A release adds the lines of its new files; no line is ever changed or
//! removed (`.ci/run` compares with the tag before). A line that does not hold is a failed check, and
//! [`super::make`] writes no file that has one.

use std::io::ErrorKind;
use std::path::Path;

use qpq_server_example::hex::hex;
use qpq_store::files;
use sha2::{Digest as _, Sha256};

use super::{MAX_FILE, VectorError, file_error};

/// The name of the list.
const LIST: &str = "released.sha256";

/// The files of releases that are not as they were.
pub(super) fn broken(dir: &Path) -> Vec<(String, VectorError)> {
    let lines = match lines(dir) {
        Ok(lines) => lines,
        Err(problem) => return vec![(LIST.to_owned(), problem)],
    };
    let problems = lines.into_iter().filter_map(|(sum, file)| {
        let problem = match files::read(&dir.join(&file), MAX_FILE) {
            Ok(Some(content)) if hash(&content) == sum => return None,
            Ok(Some(_)) => VectorError::Released,
            Ok(None) => VectorError::Gone,
            Err(error) => file_error(&dir.join(&file), &error),
        };
        Some((file, problem))
    });
    problems.collect()
}

/// Whether these bytes may be written there.
pub(super) fn allow(dir: &Path, file: &str, content: &[u8]) -> Result<(), VectorError> {
    let mut lines = lines(dir)?.into_iter();
    match lines.find(|(_, name)| name == file) {
        Some((sum, _)) if sum != hash(content) => Err(VectorError::Released),
        _ => Ok(()),
    }
}

/// Hash and name of each file.
fn lines(dir: &Path) -> Result<Vec<(String, String)>, VectorError> {
    let path = dir.join(LIST);
    let list = files::read(&path, MAX_FILE).map_err(|error| file_error(&path, &error))?;
    let list = String::from_utf8(list.unwrap_or_default());
    let list = list.map_err(|_| file_error(&path, &ErrorKind::InvalidData.into()))?;
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.map(|line| match line.split_once("  ") {
        Some((sum, file)) => Ok((sum.to_owned(), file.to_owned())),
        None => Err(file_error(&path, &ErrorKind::InvalidData.into())),
    });
    lines.collect()
}

fn hash(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

#[cfg(test)]
mod tests {
    use qpq_server_example::scratch::Scratch;

    use super::*;

    #[test]
    fn a_released_file_stays_as_it_was() {
        let dir = Scratch::try_new("released").expect("a directory");
        let dir = dir.path();
        std::fs::create_dir(dir.join("frames")).expect("a directory");
        let file = dir.join("frames/frames.json");
        let line = format!("# frozen\n{}  frames/frames.json\n", hash(b"content"));
        std::fs::write(&file, "content").expect("a file");
        // Without a list nothing is released.
        assert_eq!(broken(dir), []);
        assert_eq!(allow(dir, "frames/frames.json", b"other"), Ok(()));

        std::fs::write(dir.join(LIST), line).expect("a file");
        assert_eq!(broken(dir), []);
        assert_eq!(allow(dir, "frames/frames.json", b"content"), Ok(()));
        assert_eq!(allow(dir, "frames/frames-2.json", b"other"), Ok(()));
        let refused = Err(VectorError::Released);
        assert_eq!(allow(dir, "frames/frames.json", b"other"), refused);

        let at = |problem| vec![("frames/frames.json".to_owned(), problem)];
        std::fs::write(&file, "contents").expect("a file");
        assert_eq!(broken(dir), at(VectorError::Released));
        std::fs::remove_file(&file).expect("a file");
        assert_eq!(broken(dir), at(VectorError::Gone));
        std::fs::write(dir.join(LIST), "nonsense").expect("a file");
        assert_eq!(broken(dir).len(), 1);
    }
}
