//! The last table on disk, so that the router serves it after a restart without a control plane.
//! Not the table in force.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use towpath_model::routing::RouteTable;

const NAME: &str = "routes.json";
const NEXT: &str = "routes.json.next";
const PREVIOUS: &str = "routes.json.previous";

/// The directory with the last table.
#[derive(Debug, Clone)]
pub(crate) struct TableFile {
    directory: PathBuf,
}

/// Why a file is not a table.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("cannot read the file")]
    Read(#[source] io::Error),
    #[error("not a route table: {0}")]
    Parse(serde_json::Error),
}

impl TableFile {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Returns the last table; an empty one when there never was one.
    ///
    /// A file that cannot be read is set aside under a name with `boot` in it, and the one before
    /// it is taken. Both are said in the log.
    pub(crate) fn load(&self, boot: &str) -> RouteTable {
        for name in [NAME, PREVIOUS] {
            let path = self.directory.join(name);
            match read(&path) {
                Ok(Some(table)) => return table,
                Ok(None) => {}
                Err(error) => {
                    let aside = self.directory.join(format!("{name}.corrupt-{boot}"));
                    let moved = fs::rename(&path, &aside);
                    tracing::error!(
                        file.path = %path.display(), file.aside = %aside.display(), %error,
                        file.moved = moved.is_ok(),
                        "the last route table is damaged, it is set aside and not served"
                    );
                }
            }
        }
        RouteTable::default()
    }

    /// Writes `table` so that a crash at any moment leaves the old file or the new one.
    pub(crate) fn save(&self, table: &RouteTable) -> io::Result<()> {
        let next = self.directory.join(NEXT);
        let current = self.directory.join(NAME);
        let mut file = File::create(&next)?;
        file.write_all(&serde_json::to_vec(table)?)?;
        file.sync_all()?;
        let previous = self.directory.join(PREVIOUS);
        if current.exists() {
            remove_if_there(&previous)?;
            fs::hard_link(&current, &previous)?;
        }
        fs::rename(&next, &current)?;
        File::open(&self.directory)?.sync_all()
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Option<RouteTable>, Unreadable> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(Unreadable::Parse),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Unreadable::Read(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(generation: u64) -> RouteTable {
        RouteTable {
            generation,
            ..RouteTable::default()
        }
    }

    #[test]
    fn the_last_table_saved_is_the_one_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = TableFile::new(directory.path().to_owned());
        assert_eq!(file.load("b"), RouteTable::default());
        file.save(&table(1)).unwrap();
        file.save(&table(2)).unwrap();
        assert_eq!(file.load("b"), table(2));
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_the_one_before_is_taken() {
        let directory = tempfile::tempdir().unwrap();
        let file = TableFile::new(directory.path().to_owned());
        file.save(&table(1)).unwrap();
        file.save(&table(2)).unwrap();
        let path = directory.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_eq!(file.load("b"), table(1));
        assert!(directory.path().join("routes.json.corrupt-b").exists());
        assert!(!path.exists());
    }
}
