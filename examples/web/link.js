// A WebSocket that comes back. Every page of the five uses has one: it shows its state in `#state`, and waits longer
// after each try in vain: 0.25 s, 0.5 s, … up to 5 s, and up to half of that again by chance, so that a restarted
// server does not meet all its clients at one moment (RFC 6455 §7.2.3).
class Link {
  /// `where()` gives the path with its query, and is asked at each connect: that is where `since` goes.
  /// `on` may have `open()`, `message(data)` and `ended(code, reason)`; where `ended` gives false it does not come back.
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
    this.show('connecting', this.tries ? 'connecting again' : 'connecting');
    socket.onopen = () => {
      this.tries = 0;
      this.show('open', 'connected');
      this.on.open?.();
    };
    socket.onmessage = (event) => this.on.message?.(event.data);
    // Every end comes by here, also a connect in vain: `onerror` says nothing that this does not.
    socket.onclose = (event) => {
      if (socket !== this.socket) return;
      if (this.on.ended?.(event.code, event.reason) === false) {
        return this.show('ended', `ended: ${event.code} ${event.reason}`);
      }
      const wait = Math.min(250 * 2 ** this.tries++, 5000) * (1 + Math.random() / 2);
      this.show('waiting', `${event.code} ${event.reason || 'connection lost'}; again in ${(wait / 1000).toFixed(1)} s`);
      this.timer = setTimeout(() => this.connect(), wait);
    };
  }

  /// Whether it went to the socket. What does not go now is the caller's to keep.
  send(data) {
    if (this.isOpen) this.socket.send(data);
    return this.isOpen;
  }

  /// Leaves, and does not come back by itself.
  close() {
    clearTimeout(this.timer);
    const socket = this.socket;
    this.socket = null;
    socket?.close(1000);
    this.show('ended', 'left');
  }

  show(state, text) {
    const shown = document.getElementById('state');
    shown.dataset.state = state;
    shown.textContent = text;
  }
}
