//! The proxies of the comparison, each as processes of its own. Not the load.

use std::error::Error;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use towpath_model::id::{Digest, WorkloadId};
use towpath_model::routing::{
    Backend, FULL_WEIGHT, Listener, Protocol, Route, RouteMode, RoutePolicy, RouteTable, Target,
};
use towpath_router::Config;
use towpath_router::client::RouterClient;

use super::WORKERS;

/// How often it is looked whether a proxy has started, 10 ms apart. Under valgrind it takes seconds.
const TRIES: u32 = 3_000;

/// The argument with which this program runs the router.
pub(crate) const ROUTER_ROLE: &str = "--run-router";

/// Makes the command that runs a program.
pub(crate) type Start<'a> = &'a dyn Fn(&Path) -> Command;

/// Runs a program as it is.
pub(crate) fn plainly(program: &Path) -> Command {
    Command::new(program)
}

/// A running proxy. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    process: Child,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for worker in children(self.process.id()) {
            if let Some(worker) = i32::try_from(worker)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            {
                // One that is gone already is gone.
                rustix::process::kill_process(worker, rustix::process::Signal::KILL).ok();
            }
        }
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Runs the router until the process is killed.
pub(crate) fn run_router(directory: &Path) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let workers = NonZeroUsize::new(WORKERS).ok_or("no workers")?;
    let config = Config::new(
        directory.join("state"),
        directory.join("router.sock"),
        workers,
    );
    Ok(runtime.block_on(towpath_router::run(config, CancellationToken::new()))?)
}

fn free_address() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Returns the path of an installed program.
fn program(name: &str) -> Option<PathBuf> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    places
        .iter()
        .map(|place| Path::new(place).join(name))
        .find(|path| path.exists())
}

/// The processes that `parent` started.
fn children(parent: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    list.map(|list| {
        list.split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    })
    .unwrap_or_default()
}

impl Proxy {
    /// Starts the router and gives it a table.
    pub(crate) async fn router(
        directory: &Path,
        backend: SocketAddr,
        start: Start<'_>,
    ) -> Result<Self, Box<dyn Error>> {
        let address = free_address()?;
        let process = start(&std::env::current_exe()?)
            .arg(ROUTER_ROLE)
            .arg(directory)
            .spawn()?;
        let proxy = Self {
            name: "router",
            address,
            process,
        };
        let client = RouterClient::new(directory.join("router.sock"));
        let mut tries = 0..TRIES;
        while client.report().await.is_err() {
            tries.next().ok_or("the router does not start")?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        client.put_table(&table(address, backend)?).await?;
        Ok(proxy)
    }

    /// Starts nginx, if it is installed.
    pub(crate) fn nginx(
        directory: &Path,
        backend: SocketAddr,
        start: Start<'_>,
    ) -> io::Result<Option<Self>> {
        let Some(program) = program("nginx") else {
            return Ok(None);
        };
        let address = free_address()?;
        let at = directory.display();
        let configuration = format!(
            "worker_processes {WORKERS};\ndaemon off;\npid {at}/nginx.pid;\nerror_log {at}/nginx.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 1000000000;\n\
             client_body_temp_path {at}/nginx-body;\n  proxy_temp_path {at}/nginx-proxy;\n\
             fastcgi_temp_path {at}/nginx-f;\n  uwsgi_temp_path {at}/nginx-u;\n  scgi_temp_path {at}/nginx-s;\n\
             upstream backend {{ server {backend}; keepalive 128; keepalive_requests 1000000000; }}\n\
             server {{\n    listen {address} reuseport;\n    location / {{\n\
             proxy_pass http://backend;\n      proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n\
             proxy_set_header Host $http_host;\n      proxy_set_header X-Forwarded-Host $http_host;\n\
             proxy_set_header X-Forwarded-Proto $scheme;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    }}\n  }}\n}}\n"
        );
        let path = directory.join("nginx.conf");
        fs::write(&path, configuration)?;
        let process = start(&program)
            .arg("-c")
            .arg(path)
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Some(Self {
            name: "nginx",
            address,
            process,
        }))
    }

    /// Starts `HAProxy`, if it is installed.
    pub(crate) fn haproxy(
        directory: &Path,
        backend: SocketAddr,
        start: Start<'_>,
    ) -> io::Result<Option<Self>> {
        let Some(program) = program("haproxy") else {
            return Ok(None);
        };
        let address = free_address()?;
        let configuration = format!(
            "global\n  nbthread {WORKERS}\n  maxconn 4096\ndefaults\n  mode http\n  option forwardfor\n\
             timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  http-reuse always\n\
             frontend in\n  bind {address}\n  http-request set-header X-Forwarded-Proto http\n\
             http-request set-header X-Forwarded-Host %[req.hdr(host)]\n  default_backend out\n\
             backend out\n  server one {backend}\n"
        );
        let path = directory.join("haproxy.cfg");
        fs::write(&path, configuration)?;
        let process = start(&program)
            .arg("-db")
            .arg("-f")
            .arg(path)
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Some(Self {
            name: "HAProxy",
            address,
            process,
        }))
    }

    /// Ends the proxy as an administrator would, and waits until it is gone.
    pub(crate) fn end(mut self) -> io::Result<()> {
        let id = i32::try_from(self.process.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id {
            rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        }
        self.process.wait()?;
        Ok(())
    }

    pub(crate) async fn wait_until_it_answers(&self) -> Result<(), Box<dyn Error>> {
        let mut tries = 0..TRIES;
        while TcpStream::connect(self.address).await.is_err() {
            tries
                .next()
                .ok_or_else(|| format!("{} does not start", self.name))?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn processes(&self) -> Vec<u32> {
        let mut all = children(self.process.id());
        all.push(self.process.id());
        all
    }

    /// Returns the processor time that the proxy has used.
    pub(crate) fn cpu(&self) -> Result<Duration, Box<dyn Error>> {
        let mut ticks = 0;
        for process in self.processes() {
            let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
            let (_, fields) = stat.rsplit_once(')').ok_or("a malformed stat file")?;
            // User and system time are fields 14 and 15; the name, field 2, was cut off.
            for time in fields.split_whitespace().skip(11).take(2) {
                ticks += time.parse::<u64>()?;
            }
        }
        Ok(Duration::from_millis(
            ticks * 1_000 / rustix::param::clock_ticks_per_second(),
        ))
    }

    /// Returns the memory that the proxy has in use.
    pub(crate) fn resident_mib(&self) -> Result<f64, Box<dyn Error>> {
        let mut total = 0.0;
        for process in self.processes() {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let text = line.and_then(|line| line.split_whitespace().next());
            total += text.ok_or("no resident size")?.parse::<f64>()? / 1024.0;
        }
        Ok(total)
    }
}

fn table(address: SocketAddr, backend: SocketAddr) -> Result<RouteTable, Box<dyn Error>> {
    let target = Target {
        workload: WorkloadId::new("web".parse()?, &Digest::of(b"comparison")),
        weight: FULL_WEIGHT,
        backends: vec![Backend {
            instance: "shop/production/web-1".parse()?,
            address: backend,
        }],
    };
    let route = Route {
        environment: "shop/production".parse()?,
        name: "web".to_owned(),
        hosts: Vec::new(),
        path_prefix: "/".to_owned(),
        targets: vec![target],
        shield: None,
        mode: RouteMode::Serving,
        policy: RoutePolicy::default(),
    };
    let listener = Listener {
        protocol: Protocol::Http,
        routes: vec![route],
    };
    Ok(RouteTable {
        generation: 1,
        listeners: [(address, listener)].into(),
        ..RouteTable::default()
    })
}
