//! Accepts connections and serves them, up to a limit for each listener: every user of this machine may connect over TCP, and
//! is not to keep the owner of the unix socket from it. One future owns them all.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Listeners;
use crate::limits;
use crate::seam::Clock;

/// How a request arrived.
#[derive(Debug, Clone, Copy)]
pub(super) enum Entrance {
    /// The address that was connected to.
    Tcp(SocketAddr),
    /// A socket that only its owner may open.
    Unix,
}

pub(super) async fn serve(
    listeners: Listeners,
    router: Router,
    clock: Arc<dyn Clock>,
    stop: impl Future<Output = ()>,
    stopping: watch::Sender<bool>,
) {
    let mut stop = pin!(stop);
    let (mut over_tcp, mut over_unix) = (JoinSet::new(), JoinSet::new());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = over_unix.join_next() => continue,
            Some(_) = over_tcp.join_next() => continue,
            accepted = accept_unix(&listeners), if over_unix.len() < limits::API_CONNECTIONS_MAX => accepted,
            accepted = accept_tcp(&listeners), if over_tcp.len() < limits::API_CONNECTIONS_MAX => accepted,
        };
        let (stream, entrance) = match accepted {
            Ok(accepted) => accepted,
            // Out of file handles, or the client is gone already: go on with the others.
            Err(_) => {
                clock.sleep(AFTER_A_FAILURE).await;
                continue;
            }
        };
        let connections = match entrance {
            Entrance::Tcp(_) => &mut over_tcp,
            Entrance::Unix => &mut over_unix,
        };
        connections.spawn(connection(stream, entrance, router.clone(), stopping.subscribe()));
    }
    drop(listeners);
    stopping.send_replace(true);
    tokio::select! {
        biased;
        () = async {
            while over_unix.join_next().await.is_some() {}
            while over_tcp.join_next().await.is_some() {}
        } => {}
        () = clock.sleep(limits::API_STOP_MAX) => {}
    }
}

const AFTER_A_FAILURE: Duration = limits::REQUEST_BACKOFF_MIN;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Accepted = std::io::Result<(Box<dyn Stream>, Entrance)>;

async fn accept_unix(listeners: &Listeners) -> Accepted {
    match &listeners.unix {
        Some(listener) => Ok((Box::new(listener.accept().await?.0), Entrance::Unix)),
        None => std::future::pending().await,
    }
}

async fn accept_tcp(listeners: &Listeners) -> Accepted {
    let (stream, _) = listeners.tcp.accept().await?;
    let entrance = Entrance::Tcp(stream.local_addr()?);
    Ok((Box::new(stream), entrance))
}

async fn connection(
    stream: Box<dyn Stream>,
    entrance: Entrance,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(entrance);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::API_HEAD_MAX)
        // `Fn_call_id`, as Fn writes it.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // Errors of a connection are ignored: its client sees them.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
