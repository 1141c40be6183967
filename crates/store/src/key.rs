//! The master key: from a file made at the first start, or given as text. Not what it seals.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::database;
use crate::envelope::SealingKey;

const FILE_NAME: &str = "master.key";

/// What is wrong with a key. None carries a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file cannot be read or made.
    #[error("cannot use the master key file {}", file.display())]
    File {
        /// The key file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read or write the key file.
    #[error(
        "the master key file {} has mode {mode:03o}: others may read it; make it yours alone (chmod 600), and consider the secrets known",
        file.display()
    )]
    Exposed {
        /// The key file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is a database, but not its key.
    #[error(
        "the master key file {} is missing, and the database needs it: restore it from where it is kept, or give the key in the environment",
        file.display()
    )]
    Missing {
        /// The key file.
        file: PathBuf,
    },
    /// The text is no key.
    #[error("{place} is not a master key: 32 bytes in base64 were expected")]
    Malformed {
        /// Where the text came from.
        place: String,
    },
    /// The key is not the one that sealed this database.
    #[error("the master key is not the one of the database {}: give the key that it was made with", file.display())]
    Wrong {
        /// The database file.
        file: PathBuf,
    },
    /// A sealed value does not open: it was changed, or moved from another row.
    #[error("{what} cannot be decrypted: its row was changed, or moved from elsewhere")]
    Tampered {
        /// What was to be opened.
        what: String,
    },
    /// The system has no randomness.
    #[error("the system's random source failed")]
    Random(#[source] getrandom::Error),
    /// The cipher refused the input, which it does only for impossible sizes.
    #[error("the value cannot be encrypted")]
    Refused,
}

/// The key that seals the data keys of all apps. It is wiped on drop and has no text form but a
/// mask.
#[derive(Clone, Debug)]
pub struct MasterKey(SealingKey);

impl MasterKey {
    /// Reads `master.key` in a data directory. At the first start, when there is no database yet,
    /// makes the directory and the file, with mode 0600. A file that others may read is refused.
    pub fn from_directory(directory: &Path) -> Result<Self, KeyError> {
        let file = directory.join(FILE_NAME);
        if !exists(&file)? {
            if exists(&database::file(directory))? {
                return Err(KeyError::Missing { file });
            }
            make(directory, &file).map_err(|error| match error {
                Failed::System(source) => KeyError::File {
                    file: file.clone(),
                    source,
                },
                Failed::Key(error) => error,
            })?;
        }
        read(&file)
    }

    /// Takes a key from text: 32 bytes in base64 (RFC 4648 section 4). White space around it is
    /// ignored.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        parse(text).ok_or_else(|| KeyError::Malformed {
            place: "the given text".to_owned(),
        })
    }

    /// Takes a new key from the system's random source.
    pub fn random() -> Result<Self, KeyError> {
        SealingKey::random().map(Self)
    }

    pub(crate) fn sealing(&self) -> &SealingKey {
        &self.0
    }
}

enum Failed {
    System(io::Error),
    Key(KeyError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

fn exists(file: &Path) -> Result<bool, KeyError> {
    file.try_exists().map_err(|source| KeyError::File {
        file: file.to_owned(),
        source,
    })
}

/// Makes the key file whole or not at all, also when two do so at once: it is written under
/// another name and then linked, which fails when the name is taken.
fn make(directory: &Path, file: &Path) -> Result<(), Failed> {
    use std::os::unix::fs::DirBuilderExt as _;
    let key = SealingKey::random().map_err(Failed::Key)?;
    let text = Zeroizing::new(STANDARD.encode(key.bytes()) + "\n");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let draft = directory.join(format!("{FILE_NAME}.{}", std::process::id()));
    let linked = write_draft(&draft, &text).and_then(|()| fs::hard_link(&draft, file));
    // Where the draft could not even be made there is nothing to remove.
    let removed = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => removed?,
    }
    File::open(directory)?.sync_all()?;
    Ok(())
}

fn write_draft(draft: &Path, text: &str) -> io::Result<()> {
    let mut output = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(draft)?;
    output.write_all(text.as_bytes())?;
    output.sync_all()
}

fn read(file: &Path) -> Result<MasterKey, KeyError> {
    let failed = |source| KeyError::File {
        file: file.to_owned(),
        source,
    };
    let mode = fs::metadata(file).map_err(failed)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            file: file.to_owned(),
            mode,
        });
    }
    let bytes = Zeroizing::new(fs::read(file).map_err(failed)?);
    std::str::from_utf8(&bytes)
        .ok()
        .and_then(parse)
        .ok_or_else(|| KeyError::Malformed {
            place: file.display().to_string(),
        })
}

fn parse(text: &str) -> Option<MasterKey> {
    let bytes = Zeroizing::new(STANDARD.decode(text.trim()).ok()?);
    SealingKey::from_bytes(&bytes).map(MasterKey)
}
