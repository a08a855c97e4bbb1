//! An echo server with fastwebsockets on tokio. It has no hub.
use fastwebsockets::{OpCode, upgrade};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
async fn up(
    mut req: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, fastwebsockets::WebSocketError> {
    let (resp, fut) = upgrade::upgrade(&mut req)?;
    tokio::spawn(async move {
        let mut ws = fut.await.unwrap();
        ws.set_auto_close(true);
        ws.set_auto_pong(true);
        let mut ws = fastwebsockets::FragmentCollector::new(ws);
        while let Ok(f) = ws.read_frame().await {
            match f.opcode {
                OpCode::Close => break,
                OpCode::Text | OpCode::Binary => {
                    if ws.write_frame(f).await.is_err() {
                        break;
                    }
                }
                _ => {}
            }
        }
    });
    Ok(resp)
}
#[tokio::main]
async fn main() {
    let port: u16 = std::env::args().nth(2).unwrap().parse().unwrap();
    let l = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    loop {
        let (s, _) = l.accept().await.unwrap();
        s.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let io = hyper_util::rt::TokioIo::new(s);
            let _ = http1::Builder::new()
                .serve_connection(io, service_fn(up))
                .with_upgrades()
                .await;
        });
    }
}
