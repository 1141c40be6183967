//! The backend of the comparison: it costs as little as a server can. Not a proxy.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

/// Starts the backend on a thread of its own and returns its address.
pub(crate) fn start() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("backend".to_owned())
        .spawn(move || {
            // It ends with the process.
            drop(runtime.block_on(serve(listener)));
        })?;
    Ok(address)
}

async fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let tasks = TaskTracker::new();
    loop {
        let (io, _) = listener.accept().await?;
        io.set_nodelay(true)?;
        tasks.spawn(answer(io));
    }
}

/// Answers each head, which is all that the load sends.
async fn answer(mut io: TcpStream) -> io::Result<()> {
    let body = "x".repeat(1024);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\
         Date: Sat, 21 Nov 2026 00:00:00 GMT\r\nServer: backend\r\n\r\n{body}"
    );
    let mut read = Vec::with_capacity(4096);
    while io.read_buf(&mut read).await? > 0 {
        if read.ends_with(b"\r\n\r\n") {
            read.clear();
            io.write_all(answer.as_bytes()).await?;
        }
    }
    Ok(())
}
