//! The older build: a binary that is there, or that of a revision, which is checked out and built below the
//! target folder of this one. What both builds have in common (everything that is not ours) is linked, not
//! built again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::printed;
use crate::bench::{Failure, Outcome};

/// The path of the binary that `base` means, beside the binary `here`.
pub fn binary(base: &str, here: &Path) -> Outcome<PathBuf> {
    let path = Path::new(base);
    if path.is_file() {
        return path.canonicalize().map_err(Failure::of(base));
    }
    let mut commit = Command::new("git");
    commit.args([
        "rev-parse",
        "--verify",
        "--quiet",
        &format!("{base}^{{commit}}"),
    ]);
    let neither = |_| {
        Failure::new(format!(
            "{base} is neither a file nor a revision of the repository here"
        ))
    };
    let commit = printed(commit).map_err(neither)?.trim().to_owned();
    let (release, target) = match (here.parent(), here.ancestors().nth(2)) {
        (Some(release), Some(target)) => (release, target),
        _ => return Err(Failure::new("this program lies in no target folder")),
    };
    let own = target.join("against").join(&commit);
    let (tree, built) = (own.join("tree"), own.join("target"));
    if !tree.is_dir() {
        check_out(&tree, &commit)?;
    }
    if !built.is_dir() {
        let linked = link(release, &built.join("release"));
        linked.map_err(Failure::of("linking what both builds have in common"))?;
    }
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&tree).env("CARGO_TARGET_DIR", &built);
    cargo.args([
        "build",
        "--release",
        "--locked",
        "--package",
        "qpq-lab",
        "--features",
        "bench",
    ]);
    let older = |_| {
        Failure::new(format!(
            "{base} does not build a qpq-lab with benchmarks, see above"
        ))
    };
    printed(cargo).map_err(older)?;
    Ok(built.join("release").join("qpq-lab"))
}

fn check_out(tree: &Path, commit: &str) -> Outcome<()> {
    let mut prune = Command::new("git");
    // A tree of it that was deleted is still listed.
    prune.args(["worktree", "prune"]);
    printed(prune)?;
    let mut add = Command::new("git");
    add.args(["worktree", "add", "--detach"])
        .arg(tree)
        .arg(commit);
    printed(add).map(|_| ())
}

/// Links the files of a folder of builds into another one, all but those of this workspace: cargo tells builds of
/// members apart by dates alone.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if is_own(&name.to_string_lossy()) {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        if entry.file_type()?.is_dir() {
            link(&from, &to)?;
        } else {
            fs::hard_link(from, to)?;
        }
    }
    Ok(())
}

/// Whether a file or folder of a build is of a member of this workspace, or of no use to another build.
fn is_own(name: &str) -> bool {
    let own = ["qpq", "libqpq", ".cargo-lock"];
    own.iter().any(|prefix| name.starts_with(prefix)) || ["incremental", "examples"].contains(&name)
}

#[cfg(test)]
mod tests {
    use qpq_server_example::scratch::Scratch;

    use super::*;

    #[test]
    fn only_what_is_not_ours_is_linked() {
        let scratch = Scratch::try_new("link").expect("a directory");
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs::create_dir_all(from.join("deps")).expect("a folder");
        for file in [
            "deps/libbytes-1.rlib",
            "deps/libqpq_crypto-1.rlib",
            "qpq-lab",
        ] {
            fs::write(from.join(file), file).expect("a file");
        }
        link(&from, &to).expect("linked");
        assert!(to.join("deps/libbytes-1.rlib").is_file());
        assert!(!to.join("deps/libqpq_crypto-1.rlib").exists());
        assert!(!to.join("qpq-lab").exists());
    }

    #[test]
    fn a_file_is_meant_before_a_revision_and_nonsense_is_refused() {
        let here = std::env::current_exe().expect("this program");
        assert_eq!(
            binary(&here.to_string_lossy(), &here),
            here.canonicalize().map_err(Failure::of(""))
        );
        assert!(binary("no-such-revision", &here).is_err());
    }
}
