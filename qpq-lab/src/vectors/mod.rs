//! The golden vectors of `tests/vectors/`: made from seeds and tables, and replayed.
//!
//! A folder holds one subject, in one or more files; its README says what is in them without a word
//! of Rust. [`check`] replays every file that is there; [`make`] writes those that this code
//! makes. Files of a release are never changed: see `released`.

mod cases;
mod envelopes;
mod frames;
mod identity;
mod json;
mod key_layout;
mod log;
mod messages;
mod mls;
mod opaque;
mod padding;
mod proofs;
mod recovery;
mod refused;
mod released;
mod safety;
mod scripts;
mod sealed_sender;
mod sessions;
mod transcripts;

use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use self::json::Fields as _;

/// The version of the wire that the files are for.
const WIRE_VERSION: u32 = 1;
/// Longer files are none of ours, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// Why vectors could not be made or do not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VectorError {
    /// A file cannot be read or written.
    #[error("{path}: {kind}: check that it is there and yours")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// A file is not JSON.
    #[error("it is not JSON: {0}")]
    NotJson(String),
    /// A file is of another subject or version.
    #[error("it is of another subject or version: update this program")]
    OtherSubject,
    /// A field is missing or of another type than the schema says.
    #[error("{field} is not {expected}")]
    Field {
        /// Its name.
        field: String,
        /// What it should be.
        expected: &'static str,
    },
    /// This code gives something else than the file says.
    #[error("{field}: {how}")]
    Differs {
        /// Where, from the top of the file.
        field: String,
        /// What stands in the file and what comes out here.
        how: String,
    },
    /// The file belongs to a release.
    #[error("it belongs to a release and must not change: write a new file beside it")]
    Released,
    /// A file that a release had is gone.
    #[error("it belongs to a release and is gone: put it back")]
    Gone,
    /// A recording did not come out as its story says.
    #[error("a story did not come out as it should: the cores have changed, correct them or it")]
    Story,
    /// Our own code refused what it made itself.
    #[error("{0} does not work any more")]
    Broken(&'static str),
}

impl VectorError {
    /// The same, with the place in the file before its field.
    fn inside(self, place: &str) -> Self {
        match self {
            Self::Differs { field, how } => Self::Differs {
                field: format!("{place}.{field}"),
                how,
            },
            Self::Field { field, expected } => Self::Field {
                field: format!("{place}.{field}"),
                expected,
            },
            other => other,
        }
    }
}

/// Names without `.json`, and contents.
type Files = Vec<(String, Value)>;

/// One folder.
struct Subject {
    name: &'static str,
    content: Content,
}

/// How the files of a folder are made and replayed.
enum Content {
    /// `make.py` makes them, so that they do not come from the code that they check; this replays
    /// one and counts its cases.
    Foreign(fn(&Value) -> Result<usize, VectorError>),
    /// One file of cases: their inputs, and what makes a whole case of one.
    Cases(fn() -> Result<Vec<Value>, VectorError>, cases::Replay),
    /// Files of their own form: what makes them, and what replays one and counts its cases.
    Own(
        fn() -> Result<Files, VectorError>,
        fn(&Value) -> Result<usize, VectorError>,
    ),
}

impl Subject {
    const fn cases(
        name: &'static str,
        inputs: fn() -> Result<Vec<Value>, VectorError>,
        replay: cases::Replay,
    ) -> Self {
        let content = Content::Cases(inputs, replay);
        Self { name, content }
    }

    fn make(&self) -> Result<Files, VectorError> {
        match self.content {
            Content::Foreign(_) => Ok(Vec::new()),
            Content::Cases(inputs, replay) => cases::make(self.name, &inputs()?, replay),
            Content::Own(make, _) => make(),
        }
    }

    fn check(&self, file: &Value) -> Result<usize, VectorError> {
        match self.content {
            Content::Cases(_, replay) => cases::check(file, replay),
            Content::Foreign(check) | Content::Own(_, check) => check(file),
        }
    }
}

const SUBJECTS: [Subject; 16] = [
    Subject {
        name: "frames",
        content: Content::Foreign(frames::check),
    },
    Subject {
        name: "messages",
        content: Content::Foreign(messages::check),
    },
    Subject::cases("key_layout", key_layout::inputs, key_layout::replay),
    Subject::cases("identity", identity::inputs, identity::replay),
    Subject::cases("envelopes", envelopes::inputs, envelopes::replay),
    Subject::cases(
        "sealed_sender",
        sealed_sender::inputs,
        sealed_sender::replay,
    ),
    Subject::cases("proofs", proofs::inputs, proofs::replay),
    Subject::cases("log", log::inputs, log::replay),
    Subject::cases("safety", safety::inputs, safety::replay),
    Subject::cases("padding", padding::inputs, padding::replay),
    Subject::cases("recovery", recovery::inputs, recovery::replay),
    Subject::cases("transcripts", transcripts::inputs, transcripts::replay),
    Subject::cases("opaque", opaque::inputs, opaque::replay),
    Subject::cases("mls", mls::inputs, mls::replay),
    Subject::cases("refused", refused::inputs, refused::replay),
    Subject {
        name: "sessions",
        content: Content::Own(sessions::make, sessions::check),
    },
];

/// What became of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Path below the folder of the vectors, with `/`.
    pub file: String,
    /// How many cases it has.
    pub cases: usize,
    /// Why it does not hold.
    pub problem: Option<VectorError>,
}

/// Replays every vector below `dir`, and looks after those of releases; a row for each file.
#[must_use]
pub fn check(dir: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for subject in &SUBJECTS {
        let names = match file_names(&dir.join(subject.name), ".json") {
            Ok(names) => names,
            Err(problem) => {
                rows.push(row(subject.name.to_owned(), Err(problem)));
                continue;
            }
        };
        for name in names {
            let checked = check_file(subject, &dir.join(subject.name).join(&name));
            rows.push(row(format!("{}/{name}", subject.name), checked));
        }
    }
    rows.extend(scripts::check(dir));
    let broken = released::broken(dir).into_iter();
    rows.extend(broken.map(|(file, problem)| row(file, Err(problem))));
    rows
}

/// Writes the vectors below `dir`, and what the scripts there give; a row for each file that was
/// written.
#[must_use]
pub fn make(dir: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    for subject in &SUBJECTS {
        match subject.make() {
            Ok(files) => {
                for (name, content) in files {
                    let file = format!("{}/{name}.json", subject.name);
                    let written = write(dir, &file, &json::print(&content));
                    let cases = written.and_then(|()| subject.check(&content));
                    rows.push(row(file, cases));
                }
            }
            Err(problem) => rows.push(row(subject.name.to_owned(), Err(problem))),
        }
    }
    rows.extend(scripts::make(dir));
    rows
}

fn row(file: String, checked: Result<usize, VectorError>) -> Row {
    match checked {
        Ok(cases) => Row {
            file,
            cases,
            problem: None,
        },
        Err(problem) => Row {
            file,
            cases: 0,
            problem: Some(problem),
        },
    }
}

fn check_file(subject: &Subject, path: &Path) -> Result<usize, VectorError> {
    let text = read(path)?;
    let file: Value =
        serde_json::from_slice(&text).map_err(|error| VectorError::NotJson(error.to_string()))?;
    if file.text("subject")? != subject.name || file.number::<u32>("wire_version")? != WIRE_VERSION
    {
        return Err(VectorError::OtherSubject);
    }
    subject.check(&file)
}

/// The vectors of a folder that end so, without its schema, in order.
fn file_names(folder: &Path, ending: &str) -> Result<Vec<String>, VectorError> {
    let entries = std::fs::read_dir(folder).map_err(|error| file_error(folder, &error))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter(|name| name.ends_with(ending) && name != "schema.json")
        .collect();
    names.sort_unstable();
    Ok(names)
}

fn read(path: &Path) -> Result<Vec<u8>, VectorError> {
    let content =
        qpq_store::files::read(path, MAX_FILE).map_err(|error| file_error(path, &error))?;
    content.ok_or_else(|| file_error(path, &io::ErrorKind::NotFound.into()))
}

/// Writes a file unless a release holds other bytes of it.
fn write(dir: &Path, file: &str, content: &str) -> Result<(), VectorError> {
    released::allow(dir, file, content.as_bytes())?;
    let path = dir.join(file);
    let folder = path.parent().unwrap_or(dir);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&path, content))
        .map_err(|error| file_error(&path, &error))
}

fn file_error(path: &Path, error: &io::Error) -> VectorError {
    VectorError::File {
        path: path.to_owned(),
        kind: error.kind(),
    }
}
