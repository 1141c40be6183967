//! Instructions for each request, counted by callgrind: the same on a busy machine and on an idle one.
//! Not what the kernel does for a request.

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::backend;
use super::load;
use super::proxy::Proxy;

/// Requests of the shorter and of the longer run: what a proxy does at its start and its end is in
/// both, and not in the difference.
const RUNS: [u32; 2] = [1_000, 5_000];

const CONNECTIONS: u32 = 8;

const NAMES: [&str; 3] = ["router", "nginx", "HAProxy"];

/// Prints the instructions for each request of each proxy that is installed.
pub(crate) async fn compare() -> Result<(), Box<dyn Error>> {
    println!(
        "instructions in user space for each request, {CONNECTIONS} kept connections, answers of 1 KiB"
    );
    for name in NAMES {
        let [shorter, longer] = RUNS;
        let (Some(least), Some(most)) = (count(name, shorter).await?, count(name, longer).await?)
        else {
            println!("{name:<10} is not installed");
            continue;
        };
        let each = most.saturating_sub(least) / u64::from(longer - shorter);
        println!("{name:<10} {each:>8}");
    }
    Ok(())
}

/// Returns the instructions of a proxy's whole life with so many requests.
async fn count(name: &str, requests: u32) -> Result<Option<u64>, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    // The workers of nginx run as another user and write there too.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))?;
    let backend = backend::start()?;
    let start = |program: &Path| under_callgrind(program, directory.path());
    let proxy = match name {
        "router" => Some(Proxy::router(directory.path(), backend, &start).await?),
        "nginx" => Proxy::nginx(directory.path(), backend, &start)?,
        _ => Proxy::haproxy(directory.path(), backend, &start)?,
    };
    let Some(proxy) = proxy else {
        return Ok(None);
    };
    proxy.wait_until_it_answers().await?;
    load::run_count(proxy.address, CONNECTIONS, requests).await?;
    proxy.end()?;
    let mut total = 0;
    for file in fs::read_dir(directory.path())? {
        let path = file?.path();
        if path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"callgrind."))
        {
            total += summary(&fs::read_to_string(path)?);
        }
    }
    Ok(Some(total))
}

fn under_callgrind(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new("valgrind");
    let out = directory.join("callgrind.%p");
    command
        .args(["--tool=callgrind", "--trace-children=yes", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .stderr(Stdio::null());
    command
}

/// Returns the total of a file that callgrind wrote.
fn summary(text: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.strip_prefix("summary:")?.trim().parse::<u64>().ok())
        .sum()
}
