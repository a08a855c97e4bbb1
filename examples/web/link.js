// A WebSocket that reconnects by itself. Every page of the five example programs has one. It shows its state in
// `#state`. The delay doubles after each failed attempt: 0.25 s, 0.5 s, … up to 5 s. A random part of up to half of the
// delay is added, so that the clients of a restarted server do not all reconnect at the same moment (RFC 6455 §7.2.3).
class Link {
  /// `where()` returns the path with its query, for example with `since`. It is called at each connect.
  /// `on` may have `open()`, `message(data)` and `ended(code, reason)`. If `ended` returns false, Link does not
  /// reconnect.
  constructor(where, on = {}, protocols = []) {
    Object.assign(this, { where, on, protocols, tries: 0, socket: null, timer: 0 });
    this.connect();
  }

  get isOpen() { return this.socket?.readyState === WebSocket.OPEN; }

  connect() {
    clearTimeout(this.timer);
    const url = location.origin.replace(/^http/, 'ws') + this.where();
    const socket = this.socket = new WebSocket(url, this.protocols);
    socket.binaryType = 'arraybuffer';
    this.show('connecting', this.tries ? 'reconnecting' : 'connecting');
    socket.onopen = () => {
      this.tries = 0;
      this.show('open', 'connected');
      this.on.open?.();
    };
    socket.onmessage = (event) => this.on.message?.(event.data);
    // Also called after a failed connect. `onerror` would add no information, so it is not set.
    socket.onclose = (event) => {
      if (socket !== this.socket) return;
      if (this.on.ended?.(event.code, event.reason) === false) {
        return this.show('ended', `closed: ${event.code} ${event.reason}`);
      }
      const wait = Math.min(250 * 2 ** this.tries++, 5000) * (1 + Math.random() / 2);
      this.show('waiting', `${event.code} ${event.reason || 'connection lost'}; reconnecting in ${(wait / 1000).toFixed(1)} s`);
      this.timer = setTimeout(() => this.connect(), wait);
    };
  }

  /// Sends `data` if the connection is open, and returns whether it is. Otherwise the caller keeps the data.
  send(data) {
    if (this.isOpen) this.socket.send(data);
    return this.isOpen;
  }

  /// Closes the connection. Link does not reconnect.
  close() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    socket?.close(1000);
    this.show('ended', 'closed');
  }

  show(state, text) {
    const shown = document.getElementById('state');
    shown.dataset.state = state;
    shown.textContent = text;
  }
}
