//! A player on a bad connection, for a second terminal: it reads nothing for three seconds, then reads all that has
//! arrived, and repeats this.

use std::error::Error;
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use standpipe::tungstenite::{self, WebSocket};

/// Plays until the server closes the connection.
pub(crate) fn play(address: &str) -> Result<(), Box<dyn Error>> {
    let server = address.to_socket_addrs()?.next().ok_or("no such address")?;
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    // With the default size, the kernel would buffer about 64 KiB, which is seven seconds of a game.
    socket.set_recv_buffer_size(4 << 10)?;
    socket.connect(&server.into())?;
    let url = format!("ws://{address}/ws?name=slow");
    let (mut player, _) = tungstenite::client(url, TcpStream::from(socket))?;
    println!("slow plays on http://{address}/");
    let Some(mut last) = next_tick(&mut player)? else {
        return Ok(());
    };
    loop {
        println!("tick {last}: reads nothing for three seconds");
        thread::sleep(Duration::from_secs(3));
        let (mut old, mut skipped, mut after) = (0, 0, 0);
        // Reads for one more second after the gap. If there is no gap, the kernels had buffered everything, and the
        // loop ends after 150 snapshots.
        while after < 30 && old < 150 {
            let Some(next) = next_tick(&mut player)? else {
                return Ok(());
            };
            match next - last - 1 {
                0 if skipped == 0 => old += 1,
                gap => {
                    skipped += gap;
                    after += 1;
                }
            }
            last = next;
        }
        println!("tick {last}: {old} old snapshots came first, {skipped} were never sent");
    }
}

/// Reads the next snapshot and returns its tick, or `None` if the server has closed the connection.
fn next_tick(player: &mut WebSocket<TcpStream>) -> Result<Option<u32>, Box<dyn Error>> {
    loop {
        match player.read()? {
            tungstenite::Message::Binary(bytes) => {
                if let [1, a, b, c, d, ..] = bytes[..] {
                    return Ok(Some(u32::from_be_bytes([a, b, c, d])));
                }
            }
            tungstenite::Message::Close(frame) => {
                // The next read sends the answer to the Close. Reading ends when the server closes the socket.
                while player.read().is_ok() {}
                let (code, reason) = frame.map_or((1005, "".into()), |frame| {
                    (u16::from(frame.code), frame.reason)
                });
                println!("closed: {code} {reason}");
                return Ok(None);
            }
            _ => {}
        }
    }
}
