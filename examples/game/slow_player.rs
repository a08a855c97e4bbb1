//! A player on a bad line, to be run beside the game: it reads nothing for three seconds, then all there is, and so on.

use std::error::Error;
use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use standpipe::Message;
use standpipe::tungstenite::{self, WebSocket};

/// Plays until the server closes it.
pub(crate) fn play(address: &str) -> Result<(), Box<dyn Error>> {
    let at = address.to_socket_addrs()?.next().ok_or("no such address")?;
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    // Else the kernel would read for it: some 64 KiB, which are seven seconds of a game.
    socket.set_recv_buffer_size(4 << 10)?;
    socket.connect(&at.into())?;
    let url = format!("ws://{address}/ws?name=slow");
    let (mut player, _) = tungstenite::client(url, TcpStream::from(socket))?;
    println!("slow plays on http://{address}/");
    let Some(mut last) = tick(&mut player)? else {
        return Ok(());
    };
    loop {
        println!("tick {last}: reads nothing for three seconds");
        thread::sleep(Duration::from_secs(3));
        let (mut old, mut skipped, mut after) = (0, 0, 0);
        // A second beyond the gap. Without one it is no slower than its line, and the kernels had it all.
        while after < 30 && old < 150 {
            let Some(next) = tick(&mut player)? else {
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

/// The tick of the next snapshot. None: the server has closed.
fn tick(player: &mut WebSocket<TcpStream>) -> Result<Option<u32>, Box<dyn Error>> {
    loop {
        match player.read()? {
            Message::Binary(bytes) => {
                if let [1, a, b, c, d, ..] = bytes[..] {
                    return Ok(Some(u32::from_be_bytes([a, b, c, d])));
                }
            }
            Message::Close(frame) => {
                // The answer goes out with the next read, which ends where the server closes.
                while player.read().is_ok() {}
                let (code, why) = frame.map_or((1005, "".into()), |frame| {
                    (u16::from(frame.code), frame.reason)
                });
                println!("closed: {code} {why}");
                return Ok(None);
            }
            _ => {}
        }
    }
}
