//! Backends: small servers with a given behaviour. They count what they get.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A running backend. It ends, with its connections, when this is dropped.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Backend {
    /// Starts a backend that answers each request with `text`.
    pub(crate) async fn saying(text: &'static str) -> Self {
        Self::new(
            move |_| async move { Response::new(Full::new(Bytes::from_static(text.as_bytes()))) },
        )
        .await
    }

    /// Starts a backend that answers each request as `answer` does.
    pub(crate) async fn new<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let mut backend = Self::raw(move |io| {
            let (answer, counted) = (answer.clone(), Arc::clone(&counted));
            async move {
                let service = service_fn(move |request| {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                // A connection that the router gives up is no failure of the backend.
                drop(
                    http.serve_connection(TokioIo::new(io), service)
                        .with_upgrades()
                        .await,
                );
            }
        })
        .await;
        backend.requests = requests;
        backend
    }

    /// Starts a backend that does with each connection what `serve` does.
    pub(crate) async fn raw<F, A>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> A + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        Self::raw_at((Ipv4Addr::LOCALHOST, 0).into(), serve).await
    }

    /// The same at a given address.
    pub(crate) async fn raw_at<F, A>(address: SocketAddr, serve: F) -> Self
    where
        F: Fn(TcpStream) -> A + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((io, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                open.spawn(serve(io));
                while open.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            requests: Arc::default(),
            connections,
            _tasks: tasks,
        }
    }

    /// Returns how many requests came.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Returns how many connections came.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
