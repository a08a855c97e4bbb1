//! Frames for tests: encodes frames as a client, and decodes the frames of a server.

/// Returns a masked frame, as a client sends it.
pub(crate) fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// Splits the bytes that a server wrote into frames. Returns the first byte and the payload of each frame. An
/// incomplete last frame is left out.
pub(crate) fn from_server(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((header, length)) = header(bytes) {
        if bytes.len() < header + length {
            break;
        }
        frames.push((bytes[0], bytes[header..header + length].to_vec()));
        bytes = &bytes[header + length..];
    }
    frames
}

/// Returns the sizes of the first frame's header and payload.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    match *bytes.get(1)? {
        126 => Some((4, number(bytes.get(2..4)?))),
        127 => Some((10, number(bytes.get(2..10)?))),
        short => {
            assert!(short < 126, "a server's frame has no mask");
            Some((2, usize::from(short)))
        }
    }
}
