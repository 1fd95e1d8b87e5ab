//! Server: connections in, answers out, until it is told to stop.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use heartstream::Heartstream;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};
use tower::ServiceExt;

use crate::{
    app::{App, router},
    client::Peer,
    error::ServeError,
    guard::Guard,
    jukebox::Jukebox,
    library::Library,
    options::ServeOptions,
    page::Page,
    patient_stream::PatientStream,
};

/// Bytes that a connection holds of a request or an answer: the head of a request is shorter.
const MOST_BUFFER: usize = 64 << 10;
/// How long to wait when the system has no handles for a further connection.
const NO_HANDLES: Duration = Duration::from_millis(100);

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
}

impl Server {
    /// Opens the library and listens; nothing is answered before [`Server::run`].
    ///
    /// # Errors
    /// When an option is out of range, the address is taken or needs a token, or the library cannot be used.
    pub async fn bind(engine: Heartstream, options: ServeOptions) -> Result<Self, ServeError> {
        options.check()?;
        let ServeOptions { listen, hosts, token, library, model_name, tags, gain, seconds_per_line, limits } = options;
        let library = tokio::task::spawn_blocking(move || Library::open(&library)).await;
        let library = library.map_err(std::io::Error::from)??;
        let taken = |reason| ServeError::Listen { address: listen, reason };
        let listener = TcpListener::bind(listen).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let jukebox = Jukebox::new(engine, library, limits, gain);
        let guard = Guard::new(address, hosts, token.as_deref());
        let app = Arc::new(App { jukebox, guard, page: Page::new(), model_name, tags, seconds_per_line });
        Ok(Self { listener, address, app })
    }

    /// Where it listens: the port is known even when any was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is done. Then the songs that are written are kept, so that they can be resumed.
    ///
    /// # Errors
    /// When the system takes the listening address away.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServeError> {
        let Self { listener, app, .. } = self;
        let router = router(Arc::clone(&app));
        let places = Arc::new(Semaphore::new(app.jukebox.limits.connections));
        let (ending, ended) = watch::channel(false);
        let accept = async {
            loop {
                // No place, no further connection: those that come wait in the system's queue, which is bounded.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, peer)) => {
                        let connection = Connection { app: Arc::clone(&app), router: router.clone(), place };
                        tokio::spawn(connection.serve(stream, peer, ended.clone()));
                    }
                    Err(error) => {
                        tracing::warn!("a connection was not accepted: {error}");
                        tokio::time::sleep(NO_HANDLES).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => (),
            () = stop => (),
        }
        drop(listener);
        app.jukebox.close().await;
        ending.send_replace(true);
        Ok(())
    }
}

struct Connection {
    app: Arc<App>,
    router: Router,
    place: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, mut ended: watch::Receiver<bool>) {
        let Self { app, router, place } = self;
        let _open = (app.jukebox.metrics.connected(), place);
        let limits = &app.jukebox.limits;
        // Events and the first bytes of a song are small and urgent.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("{peer}: {error}");
        }
        let stream = PatientStream::new(stream, limits.stall_time, app.jukebox.metrics.clone());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (router, mut request) = (router.clone(), request.map(Body::new));
            request.extensions_mut().insert(Peer(peer));
            async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.head_time).max_buf_size(MOST_BUFFER);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let ended = async { drop(ended.wait_for(|ended| *ended).await) };
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = ended => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = result {
            tracing::debug!("{peer}: {error}"); // a client that left, was slow, or spoke no HTTP
        }
    }
}
