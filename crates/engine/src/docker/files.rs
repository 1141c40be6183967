//! Files that go into the workspaces of containers and come out of them, by Docker's archives. Not
//! what is in the archives ([`crate::workspace`]).
//!
//! The workspace of a container is its working directory.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use bollard::{Docker, body_stream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tar::{EntryType, Header};
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;
use towpath_model::container::Container;
use towpath_model::id::{EnvironmentId, InstanceId, ServiceName};
use towpath_model::pipeline::project::place_of_given;
use towpath_model::port::{FilesTaken, FilesWanted, PortError};

use super::client::Trouble;
use super::shared::Shared;
use crate::workspace::{self, PackError, Packer};

/// Pieces of an archive that wait to be taken apart.
const PIECES: usize = 16;

/// Puts what an instance is given into its container, which was not started yet.
pub(super) async fn give(
    shared: &Shared,
    docker: &Docker,
    id: &InstanceId,
    container: &Container,
    name: &str,
) -> Result<(), Trouble> {
    let environment = shared.layout.data.environment(&id.environment);
    let unreadable = |error: io::Error| Trouble::Refused(format!("cannot give it files: {error}"));
    let given = workspace::given(&environment, &id.service).map_err(unreadable)?;
    if given.is_empty() {
        return Ok(());
    }
    let place = match place_of_given(container) {
        Some(place) => {
            let made = directory(place).map_err(unreadable)?;
            let made = futures_util::stream::iter([Bytes::from(made)]);
            put(shared, docker, name, "/", made).await?;
            place.to_owned()
        }
        None => working_directory(shared, docker, name).await?,
    };
    for archive in given {
        let file = tokio::fs::File::open(&archive).await.map_err(unreadable)?;
        // One that cannot be read to its end is an archive that Docker refuses.
        let pieces = ReaderStream::new(file).take_while(|piece| std::future::ready(piece.is_ok()));
        let pieces = pieces.filter_map(|piece| std::future::ready(piece.ok()));
        put(shared, docker, name, &place, pieces).await?;
    }
    Ok(())
}

async fn put(
    shared: &Shared,
    docker: &Docker,
    name: &str,
    place: &str,
    archive: impl futures_util::Stream<Item = Bytes> + Send + 'static,
) -> Result<(), Trouble> {
    let options = UploadToContainerOptionsBuilder::default().path(place);
    let put = docker.upload_to_container(name, Some(options.build()), body_stream(archive));
    put.await.map_err(|error| {
        let attempted = format!("cannot put files into {place}");
        shared.client.trouble(&error).after(&attempted)
    })
}

/// Makes an archive with nothing but a directory at the top.
fn directory(place: &str) -> io::Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    let mut builder = tar::Builder::new(Vec::new());
    let name = format!("{}/", place.trim_start_matches('/'));
    builder.append_data(&mut header, name, io::empty())?;
    builder.into_inner()
}

async fn working_directory(
    shared: &Shared,
    docker: &Docker,
    name: &str,
) -> Result<String, Trouble> {
    let found = docker.inspect_container(name, None).await;
    let found = found.map_err(|error| shared.client.trouble(&error))?;
    let directory = found.config.and_then(|config| config.working_dir);
    let directory = directory.filter(|directory| !directory.is_empty());
    Ok(directory.unwrap_or_else(|| "/".to_owned()))
}

/// Takes files out of the container of a service's newest instance.
pub(super) async fn take(
    shared: &Shared,
    environment: &EnvironmentId,
    service: &ServiceName,
    wanted: &FilesWanted,
    archive: &Path,
) -> Result<FilesTaken, PortError> {
    let attempted = || format!("take files from `{service}` of {environment}");
    let newest = {
        let known = shared.lock();
        let instances = known.get(environment).map(|known| &known.instances);
        let own = instances.into_iter().flatten().map(|(id, _)| id);
        let own = own.filter(|id| &id.service == service);
        own.max_by_key(|id| id.number).cloned()
    };
    let Some(id) = newest else {
        return Err(PortError::Refused(format!("`{service}` has no instance")));
    };
    let name = shared.container_of(&id);
    let docker = shared.client.get().await;
    let docker = docker.map_err(|trouble| trouble.failed(attempted()))?;
    let directory = working_directory(shared, &docker, &name).await;
    let directory = directory.map_err(|trouble| trouble.failed(attempted()))?;
    let options = DownloadFromContainerOptionsBuilder::default().path(&directory);
    let mut pieces = Box::pin(docker.download_from_container(&name, Some(options.build())));
    let (sender, receiver) = mpsc::channel(PIECES);
    let packing = {
        let (wanted, archive) = (wanted.clone(), archive.to_owned());
        tokio::task::spawn_blocking(move || pack(Pieces::new(receiver), &wanted, &archive))
    };
    let mut trouble = None;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            trouble = Some(shared.client.trouble(&error));
            io::Error::other(error.to_string())
        });
        // Who packs may have seen enough.
        if sender.send(piece).await.is_err() || trouble.is_some() {
            break;
        }
    }
    drop(sender);
    let packed = packing.await;
    if let Some(trouble) = trouble {
        return Err(trouble.failed(attempted()));
    }
    let stopped = |_| PackError::Files(io::Error::other("the engine is shutting down"));
    let packed = packed.map_err(stopped).and_then(std::convert::identity);
    packed.map_err(|error| error.port(service))
}

/// Keeps what is wanted of Docker's archive of a directory. Blocks.
fn pack(archive: impl Read, wanted: &FilesWanted, to: &Path) -> Result<FilesTaken, PackError> {
    let mut packer = Packer::create(to, wanted)?;
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let entry = entry?;
        let Some(path) = below(&entry.path_bytes()) else {
            continue;
        };
        let header = entry.header();
        let about = (header.mode()?, header.mtime()?);
        let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
        match header.entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let size = entry.size();
                packer.file(&path, about, size, entry)?;
            }
            EntryType::Symlink => {
                if let Some(target) = link.and_then(|link| String::from_utf8(link).ok()) {
                    packer.symlink(&path, &target)?;
                }
            }
            EntryType::Link => {
                if let Some(target) = link.and_then(|link| below(&link)) {
                    packer.hard_link(&path, &target)?;
                }
            }
            // What is neither a file nor a link cannot be kept.
            _ => {}
        }
    }
    packer.finish()
}

/// Returns a path below the directory that the archive is of.
fn below(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let (_, path) = path.split_once('/')?;
    (!path.is_empty()).then(|| path.trim_end_matches('/').to_owned())
}

/// The pieces of an archive as they come, to be read where that may block.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Pieces {
    fn new(pieces: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self {
            pieces,
            rest: Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece?,
                None => return Ok(0),
            }
        }
        let length = self.rest.len().min(buffer.len());
        let piece = self.rest.split_to(length);
        let mut to = buffer.iter_mut();
        to.by_ref().zip(piece).for_each(|(to, from)| *to = from);
        Ok(length)
    }
}

/// Keeps the archives that an environment's service is given, where either engine looks for them: which
/// of them runs it is not known yet.
pub(super) fn keep(
    shared: &Shared,
    environment: &EnvironmentId,
    service: &ServiceName,
    archives: &[PathBuf],
) -> Result<(), PortError> {
    workspace::give(
        &shared.layout.data.environment(environment),
        service,
        archives,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_dockers_archive_what_is_wanted_is_kept_with_paths_from_the_workspace() {
        let place = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: &str, kind, content: &[u8], link: &str| {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o755);
            header.set_size(u64::try_from(content.len()).unwrap());
            if link.is_empty() {
                builder.append_data(&mut header, name, content).unwrap();
            } else {
                builder.append_link(&mut header, name, link).unwrap();
            }
        };
        add("workspace/", EntryType::Directory, b"", "");
        add("workspace/dist/a", EntryType::Regular, b"abc", "");
        add("workspace/dist/b", EntryType::Link, b"", "workspace/dist/a");
        add("workspace/dist/c", EntryType::Link, b"", "workspace/src/x");
        add("workspace/dist/d", EntryType::Symlink, b"", "a");
        add("workspace/dist/e", EntryType::Symlink, b"", "/etc/passwd");
        add("workspace/src/x", EntryType::Regular, b"x", "");
        let bytes = builder.into_inner().unwrap();
        let wanted = FilesWanted {
            patterns: vec!["dist/**".to_owned()],
            most_bytes: 10,
        };
        let archive = place.path().join("a.tar");
        let taken = pack(&bytes[..], &wanted, &archive).unwrap();
        assert_eq!(taken, FilesTaken { files: 3, bytes: 3 });
        workspace::unpack(&archive, place.path()).unwrap();
        for name in ["a", "b", "d"] {
            let read = std::fs::read(place.path().join("dist").join(name)).unwrap();
            assert_eq!(read, b"abc", "{name}");
        }
    }
}
