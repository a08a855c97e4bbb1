//! tokio-tungstenite: echo, and a hub in which each client has a channel of 64 messages and a writer task.
//!
//! tokio_tung MODE PORT [CERTIFICATES KEY]
//!
//! With the PEM files CERTIFICATES and KEY, it speaks TLS with tokio-rustls.
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

type Members = Arc<Mutex<Vec<tokio::sync::mpsc::Sender<Message>>>>;

/// The same version of rustls, and the same provider, as standpipe has.
fn acceptor(certificates: &str, key: &str) -> TlsAcceptor {
    let certificates = CertificateDer::pem_file_iter(certificates)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let port: u16 = args[2].parse().unwrap();
    let hub = args[1] == "hub";
    let tls = args
        .get(3)
        .map(|certificates| acceptor(certificates, &args[4]));
    let l = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let all = Members::default();
    loop {
        let (s, _) = l.accept().await.unwrap();
        let all = all.clone();
        let tls = tls.clone();
        tokio::spawn(async move {
            s.set_nodelay(true).unwrap();
            match tls {
                None => serve(s, hub, all).await,
                Some(tls) => {
                    if let Ok(s) = tls.accept(s).await {
                        serve(s, hub, all).await;
                    }
                }
            }
        });
    }
}

async fn serve<S>(s: S, hub: bool, all: Members)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(ws) = tokio_tungstenite::accept_async(s).await else {
        return;
    };
    let (mut w, mut r) = ws.split();
    if hub {
        let (tx, mut rx) = tokio::sync::mpsc::channel::<Message>(64);
        all.lock().unwrap().push(tx);
        tokio::spawn(async move {
            while let Some(m) = rx.recv().await {
                if w.feed(m).await.is_err() {
                    return;
                }
                while let Ok(m) = rx.try_recv() {
                    if w.feed(m).await.is_err() {
                        return;
                    }
                }
                if w.flush().await.is_err() {
                    return;
                }
            }
        });
        while let Some(Ok(m)) = r.next().await {
            if m.is_text() || m.is_binary() {
                let t: Vec<_> = all.lock().unwrap().clone();
                for x in t {
                    let _ = x.send(m.clone()).await;
                }
            }
        }
    } else {
        while let Some(Ok(m)) = r.next().await {
            if (m.is_text() || m.is_binary()) && w.send(m).await.is_err() {
                return;
            }
        }
    }
}
