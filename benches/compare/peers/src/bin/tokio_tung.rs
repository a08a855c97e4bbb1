//! tokio-tungstenite: echo, and a hub in which each client has a channel of 64 messages and a writer task.
use futures_util::{SinkExt, StreamExt};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
#[tokio::main]
async fn main() {
    let mode = std::env::args().nth(1).unwrap();
    let port: u16 = std::env::args().nth(2).unwrap().parse().unwrap();
    let hub = mode == "hub";
    let l = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let all: Arc<Mutex<Vec<tokio::sync::mpsc::Sender<Message>>>> = Default::default();
    loop {
        let (s, _) = l.accept().await.unwrap();
        let all = all.clone();
        tokio::spawn(async move {
            s.set_nodelay(true).unwrap();
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
        });
    }
}
