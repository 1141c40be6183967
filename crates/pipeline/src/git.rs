//! One run of the `git` program: its variables, its deadline, the limit of what it may say. Not what
//! it is asked.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use towpath_model::port::PortError;
use towpath_model::repository::{GitProgram, Objects};

/// How long a question about a repository on this machine may take.
const DEADLINE: Duration = Duration::from_mins(1);

/// The most that is read of an answer: the paths of a very large tree are a fraction of it.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The most that is shown of what Git complains of.
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;

/// Git, and the repository that it is to look at.
#[derive(Debug, Clone)]
pub(crate) struct Git<'a> {
    program: &'a GitProgram,
    directory: PathBuf,
    variables: Vec<(&'static str, OsString)>,
    deadline: Duration,
}

/// How a run of Git ended that was no failure of Git's to run.
#[derive(Debug)]
pub(crate) enum Answer {
    /// What it printed.
    Good(Vec<u8>),
    /// It exited with this code, and complained.
    Refused(i32, String),
}

impl<'a> Git<'a> {
    /// Returns Git for a bare repository.
    pub(crate) fn new(program: &'a GitProgram, directory: PathBuf) -> Self {
        Self {
            program,
            directory,
            variables: Vec::new(),
            deadline: DEADLINE,
        }
    }

    /// Returns where the repository is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Has these variables too, and this deadline.
    pub(crate) fn outside(
        &self,
        variables: Vec<(&'static str, OsString)>,
        deadline: Duration,
    ) -> Self {
        Self {
            variables,
            deadline,
            ..self.clone()
        }
    }

    /// Looks at these objects too.
    pub(crate) fn with(mut self, objects: &Objects) -> Self {
        if let Objects::Incoming(name) = objects {
            let kept = self.directory.join("objects");
            self.variables = vec![
                ("GIT_OBJECT_DIRECTORY", kept.join(name).into()),
                ("GIT_ALTERNATE_OBJECT_DIRECTORIES", kept.into()),
            ];
        }
        self
    }

    /// Returns the command, for callers that read its output themselves.
    pub(crate) fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program.program);
        command
            .env_clear()
            .envs(self.program.variables())
            .env("GIT_DIR", &self.directory)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.parent().unwrap_or(Path::new("/")))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub(crate) async fn answer(&self, arguments: &[&str]) -> Result<Answer, PortError> {
        let failed = |reason: String| failed(arguments, reason);
        let mut child = Command::from(self.command(arguments))
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("cannot run {}: {error}", self.program.program)))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let run = async {
            let (said, complaint) = tokio::join!(
                read(stdout, ANSWER_BYTES_MAX),
                read(stderr, COMPLAINT_BYTES_MAX)
            );
            Ok::<_, std::io::Error>((said?, complaint?, child.wait().await?))
        };
        let (said, complaint, status) = tokio::time::timeout(self.deadline, run)
            .await
            .map_err(|_| failed(format!("it took more than {} s", self.deadline.as_secs())))?
            .map_err(|error| failed(error.to_string()))?;
        if u64::try_from(said.len()).is_ok_and(|length| length >= ANSWER_BYTES_MAX) {
            return Err(failed("it answers too much".to_owned()));
        }
        if status.success() {
            return Ok(Answer::Good(said));
        }
        let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
        match status.code() {
            Some(code) => Ok(Answer::Refused(code, complaint)),
            None => Err(failed(format!("it ended with {status}: {complaint}"))),
        }
    }

    /// Runs it to its end. Returns what it printed; fails when it refused.
    pub(crate) async fn ask(&self, arguments: &[&str]) -> Result<Vec<u8>, PortError> {
        match self.answer(arguments).await? {
            Answer::Good(said) => Ok(said),
            Answer::Refused(_, complaint) => Err(failed(arguments, complaint)),
        }
    }
}

/// Reads to the end, or as much as is allowed; the rest is read and dropped, so that nobody waits.
async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(most).read_to_end(&mut bytes).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(bytes)
}

fn failed(arguments: &[&str], reason: String) -> PortError {
    let attempted = format!("git {}", arguments.first().unwrap_or(&""));
    PortError::Failed { attempted, reason }
}
