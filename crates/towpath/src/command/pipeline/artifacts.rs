//! `towpath runs artifacts`: the files that jobs of a run made for others, listed or written to a
//! directory.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tar::EntryType;
use towpath_api::client::Client;
use towpath_api::{Run, RunJob};
use towpath_model::tree::TreePath;

use super::{app, print};
use crate::arguments::RunsArtifacts;
use crate::command::connect;
use crate::command::table::{size, table};
use crate::exit::{Failed, Failure};
use crate::settings::Settings;

/// One file that is kept of a job.
#[derive(Debug, Serialize)]
struct Listed {
    job: String,
    path: String,
    bytes: u64,
}

/// Lists what is kept of the jobs of a run, or writes it to a directory.
pub(super) async fn artifacts(arguments: &RunsArtifacts, settings: &Settings) -> Result<ExitCode> {
    let app = app(arguments.app.as_deref(), settings)?;
    let client = connect::client(settings)?;
    let run = client.run_record(&app, arguments.number).await?;
    let jobs = kept(&run, arguments.job.as_deref())?;
    let mut files = Vec::new();
    for job in jobs {
        let archive = download(&client, &run, job).await?;
        let (label, to) = (job.label.clone(), arguments.output.clone());
        let found = tokio::task::spawn_blocking(move || match to {
            Some(to) => unpack(archive, &label, &to),
            None => list(archive, &label),
        });
        files.extend(found.await.context("the archive was not read")??);
    }
    if arguments.json {
        return print(&format!("{}\n", serde_json::to_string(&files)?));
    }
    let rows = files
        .iter()
        .map(|file| vec![file.job.clone(), file.path.clone(), size(file.bytes)]);
    print(&format!("{}\n", table(&["job", "file", "size"], rows)))?;
    if let Some(to) = &arguments.output {
        print(&format!("{} files are in {}\n", files.len(), to.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the jobs that files are kept of.
fn kept<'r>(run: &'r Run, named: Option<&str>) -> Result<Vec<&'r RunJob>> {
    let is_named = |job: &&RunJob| named.is_none_or(|name| job.name == name || job.label == name);
    let jobs = run.jobs.iter().filter(is_named);
    let jobs: Vec<&RunJob> = jobs.filter(|job| job.artifacts.is_some()).collect();
    if jobs.is_empty() {
        let of = named.map_or_else(String::new, |name| format!(" of job `{name}`"));
        let message = format!("run {} has no artifacts{of}", run.number);
        return Err(Failed::new(Failure::NotFound, message)
            .hint("write `artifacts: [dist/**]` for the job in towpath.yaml")
            .into());
    }
    Ok(jobs)
}

/// Downloads the archive of a job into a file that has no name.
async fn download(client: &Client, run: &Run, job: &RunJob) -> Result<File> {
    let mut pieces = client
        .run_artifacts(&run.app, run.number, job.number)
        .await?;
    let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
    while let Some(piece) = pieces.next().await? {
        file.write_all(&piece)
            .context("cannot write the archive down")?;
    }
    file.rewind().context("cannot read the archive")?;
    Ok(file)
}

fn list(archive: File, job: &str) -> Result<Vec<Listed>> {
    each(archive, job, |_, _| Ok(()))
}

/// Writes the files of an archive to a directory. What would get outside of it is refused, and a file
/// that is there is replaced.
fn unpack(archive: File, job: &str, to: &Path) -> Result<Vec<Listed>> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    each(archive, job, |path, entry| {
        if entry.header().entry_type() == EntryType::Symlink {
            let target = entry.link_name_bytes().unwrap_or_default();
            if !path.may_link_to(&String::from_utf8_lossy(&target)) {
                return Err(outside(path.as_str()));
            }
        }
        // It looks where the directory of the entry really is, and at what a link refers to.
        match entry.unpack_in(to) {
            Ok(true) => Ok(()),
            Ok(false) => Err(outside(path.as_str())),
            Err(error) => Err(error).with_context(|| format!("cannot write `{path}`")),
        }
    })
}

fn outside(path: &str) -> anyhow::Error {
    let message = format!("`{path}` leads out of the directory: it is not written");
    Failed::new(Failure::Operation, message).into()
}

fn each<R: Read>(
    archive: R,
    job: &str,
    mut take: impl FnMut(&TreePath, &mut tar::Entry<'_, R>) -> Result<()>,
) -> Result<Vec<Listed>> {
    let broken = || format!("the archive of job `{job}` cannot be read");
    let mut archive = tar::Archive::new(archive);
    let mut files = Vec::new();
    for entry in archive.entries().with_context(broken)? {
        let mut entry = entry.with_context(broken)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let path = TreePath::new(&name).map_err(|_| outside(&name))?;
        let kind = entry.header().entry_type();
        if !matches!(
            kind,
            EntryType::Regular | EntryType::Link | EntryType::Symlink
        ) {
            let error = io::Error::other(format!("`{name}` is no file"));
            return Err(error).with_context(broken);
        }
        let bytes = entry.size();
        take(&path, &mut entry)?;
        files.push(Listed {
            job: job.to_owned(),
            path: name,
            bytes,
        });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(name: &str, kind: EntryType, link: &str) -> File {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(0);
        let old = header.as_old_mut();
        let bytes = old.name.iter_mut().zip(name.bytes());
        bytes.for_each(|(to, from)| *to = from);
        let bytes = old.linkname.iter_mut().zip(link.bytes());
        bytes.for_each(|(to, from)| *to = from);
        header.set_cksum();
        let mut builder = tar::Builder::new(tempfile::tempfile().unwrap());
        builder.append(&header, io::empty()).unwrap();
        let mut file = builder.into_inner().unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn what_leads_out_of_the_directory_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let to: std::path::PathBuf = place.path().join("out");
        for (name, kind, link) in [
            ("../evil", EntryType::Regular, ""),
            ("/tmp/evil", EntryType::Regular, ""),
            ("link", EntryType::Symlink, "../../etc"),
            ("pipe", EntryType::Fifo, ""),
        ] {
            let refused = unpack(archive(name, kind, link), "build", &to);
            assert!(refused.is_err(), "{name}");
            assert_eq!(std::fs::read_dir(&to).unwrap().count(), 0, "{name}");
        }
        let good = unpack(archive("a/b", EntryType::Regular, ""), "build", &to);
        assert_eq!(good.unwrap().len(), 1);
        assert!(to.join("a/b").is_file());
    }
}
