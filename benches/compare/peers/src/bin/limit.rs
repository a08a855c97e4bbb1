//! An upper limit for echo servers with blocking threads. One thread per client unmasks in place, and answers all
//! complete frames of one read with one write. It checks nothing, and it has no hub.
use std::io::{Read, Write};
use std::net::TcpListener;
fn main() {
    let port: u16 = std::env::args().nth(2).unwrap().parse().unwrap();
    let l = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for s in l.incoming() {
        let s = s.unwrap();
        std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || {
                s.set_nodelay(true).unwrap();
                let ws = match tungstenite::accept(s) {
                    Ok(ws) => ws,
                    Err(_) => return,
                };
                let mut s = ws.into_inner();
                let mut buf = vec![0u8; 1 << 18];
                let mut len = 0;
                let mut out = Vec::with_capacity(1 << 18);
                loop {
                    if len == buf.len() {
                        buf.resize(len * 2, 0);
                    }
                    let n = match s.read(&mut buf[len..]) {
                        Ok(0) | Err(_) => return,
                        Ok(n) => n,
                    };
                    len += n;
                    let mut at = 0;
                    out.clear();
                    loop {
                        let b = &mut buf[at..len];
                        if b.len() < 2 {
                            break;
                        }
                        let (h, l) = match b[1] & 127 {
                            126 if b.len() >= 4 => (4, u16::from_be_bytes([b[2], b[3]]) as usize),
                            127 if b.len() >= 10 => (
                                10,
                                u64::from_be_bytes(b[2..10].try_into().unwrap()) as usize,
                            ),
                            126 | 127 => break,
                            l => (2, l as usize),
                        };
                        if b.len() < h + 4 + l {
                            break;
                        }
                        let mask: [u8; 4] = b[h..h + 4].try_into().unwrap();
                        let m = u64::from_ne_bytes([
                            mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
                        ]);
                        let (hd, p) = b.split_at_mut(h + 4);
                        let p = &mut p[..l];
                        let mut c = p.chunks_exact_mut(8);
                        for w in &mut c {
                            let v = u64::from_ne_bytes((&*w).try_into().unwrap()) ^ m;
                            w.copy_from_slice(&v.to_ne_bytes());
                        }
                        for (i, x) in c.into_remainder().iter_mut().enumerate() {
                            *x ^= mask[i & 3];
                        }
                        hd[1] &= 127;
                        out.extend_from_slice(&hd[..h]);
                        out.extend_from_slice(p);
                        at += h + 4 + l;
                    }
                    if s.write_all(&out).is_err() {
                        return;
                    }
                    buf.copy_within(at..len, 0);
                    len -= at;
                }
            })
            .unwrap();
    }
}
