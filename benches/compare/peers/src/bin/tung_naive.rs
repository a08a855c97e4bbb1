//! The simplest server with tungstenite: one thread per client. The hub is a list of cloned sockets behind a lock, and
//! the thread that broadcasts writes to all of them.
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use tungstenite::WebSocket;
use tungstenite::protocol::Role;
fn main() {
    let mode = std::env::args().nth(1).unwrap();
    let port: u16 = std::env::args().nth(2).unwrap().parse().unwrap();
    let hub = mode == "hub";
    let l = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let all: Arc<Mutex<Vec<WebSocket<std::net::TcpStream>>>> = Default::default();
    for s in l.incoming() {
        let s = s.unwrap();
        let all = all.clone();
        std::thread::spawn(move || {
            s.set_nodelay(true).unwrap();
            let mut ws = match tungstenite::accept(s) {
                Ok(ws) => ws,
                Err(_) => return,
            };
            if hub {
                let w = WebSocket::from_raw_socket(
                    ws.get_ref().try_clone().unwrap(),
                    Role::Server,
                    None,
                );
                all.lock().unwrap().push(w);
            }
            while let Ok(m) = ws.read() {
                if m.is_text() || m.is_binary() {
                    if hub {
                        all.lock()
                            .unwrap()
                            .retain_mut(|w| w.send(m.clone()).is_ok());
                    } else if ws.send(m).is_err() {
                        return;
                    }
                }
            }
        });
    }
}
