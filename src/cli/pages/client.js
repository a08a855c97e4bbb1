// ── The client: one WebSocket connection ────────────────────────────────────────────────────────────────────────────
const CODES = {
  1000: 'normal', 1001: 'server shutting down', 1002: 'protocol error', 1003: 'unsupported data', 1005: 'no code given',
  1006: 'no Close received', 1007: 'invalid data', 1008: 'policy violation', 1009: 'message too big',
  1011: 'handler failed', 1013: 'try again later', 4001: 'token expired', 4003: 'forbidden', 4008: 'slow consumer',
};

const client = {
  socket: null,
  comesBack: false,
  isJson: false,
  isClosing: false,
  /// The times at which messages were sent to /echo. Echoes arrive in order, so the next echo belongs to the first time.
  sentAt: null,
  sent: 0,
  received: 0,

  get isOpen() { return this.socket?.readyState === WebSocket.OPEN; },

  connect() {
    const url = target.url();
    jsonMode.cancelReconnect();
    const socket = new WebSocket(url, target.protocols());
    socket.binaryType = 'arraybuffer';
    Object.assign(this, { socket, comesBack: target.comesBack, isJson: target.isJson, isClosing: false, sentAt: target.isEcho ? [] : null, sent: 0, received: 0 });
    $('address').textContent = target.displayUrl();
    $('round-trip').textContent = '–';
    log.add('status', 'connecting to ' + target.displayUrl());
    socket.onopen = () => this.opened();
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = (event) => this.closed(event);
    figures.show();
  },

  opened() {
    log.add('status', 'open');
    if (this.isJson) jsonMode.opened();
    // After an automatic reconnect the focus stays where the user is typing.
    if (document.activeElement === document.body || document.activeElement === $('connect')) {
      $(this.isJson ? 'sub-topic' : 'text').focus();
      if (this.isJson) $('sub-topic').select();
    }
    topicList.refresh();
    figures.show();
  },

  send(data, description) {
    if (!this.isOpen) return;
    this.sentAt?.push(performance.now());
    this.socket.send(data);
    this.sent++;
    log.add('out', description);
    figures.show();
  },

  receive(data) {
    this.received++;
    figures.show();
    if (this.isJson) return jsonMode.receive(data);
    if (typeof data === 'string' && burst.receive(data)) return;
    const sentAt = this.sentAt?.shift();
    const roundTrip = sentAt === undefined ? '' : milliseconds(performance.now() - sentAt);
    if (roundTrip) $('round-trip').textContent = roundTrip;
    if (typeof data === 'string') log.add('in', data, roundTrip);
    else log.add('in', 'binary, ' + number(data.byteLength) + ' bytes: ' + hex(data), roundTrip);
  },

  close(code, reason) {
    // The browser throws unless the code is 1000 or 3000 to 4999 and the reason has at most 123 bytes.
    this.socket.close(...(code === '' ? [] : [Number(code), reason]));
    this.isClosing = true;
    log.add('status', 'closing' + (code === '' ? '' : ' with ' + code + (reason && ' “' + reason + '”')));
    figures.show();
  },

  closed({ code, reason, wasClean }) {
    const name = CODES[code] ? ' (' + CODES[code] + ')' : '';
    log.add(wasClean ? 'status' : 'error', 'closed with ' + code + name + (reason && ' “' + reason + '”'));
    this.socket = null;
    burst.connectionClosed();
    if (this.isJson) jsonMode.closed(code, this.isClosing);
    figures.show();
    // The focused element may just have been disabled.
    if (document.activeElement?.disabled) $('connect').focus();
  },
};

// ── Send a burst, and check whether all messages come back in order, and how fast ────────────────────────────────────────
const burst = {
  run: null,

  start(count) {
    // The random prefix tells these messages from those of another tab on the same topic.
    const prefix = 'many-' + Math.random().toString(36).slice(2, 8) + ' ';
    this.run = { prefix, count, sent: 0, back: 0, inOrder: true, since: performance.now() };
    log.add('out', number(count) + ' numbered messages');
    this.push(this.run);
  },

  /// Keeps at most 1 MiB in the browser's send buffer. Otherwise the browser would hold all messages in memory.
  push(run) {
    if (run !== this.run) return;
    while (run.sent < run.count && client.isOpen && client.socket.bufferedAmount < 1 << 20) {
      client.socket.send(run.prefix + run.sent++);
      client.sent++;
    }
    if (run.sent < run.count && client.isOpen) setTimeout(() => this.push(run), 1);
    else if (!client.comesBack) this.end(number(run.sent) + ' sent; none comes back because of echo=false');
    this.show();
  },

  /// Returns whether the message belongs to the burst.
  receive(text) {
    const run = this.run;
    if (!run || !text.startsWith(run.prefix)) return false;
    run.inOrder &&= text === run.prefix + run.back;
    if (++run.back === run.count) {
      const seconds = (performance.now() - run.since) / 1000;
      this.end(number(run.count) + ' of ' + number(run.count) + ' back, ' + (run.inOrder ? 'in order' : 'OUT OF ORDER') + ', '
        + number(run.count / seconds) + ' messages/s', run.inOrder ? 'in' : 'error');
    }
    return true;
  },

  end(text, kind = 'status') {
    this.run = null;
    $('burst-result').textContent = text;
    log.add(kind, text);
    figures.show();
  },

  connectionClosed() {
    if (this.run) this.end('connection closed with ' + number(this.run.back) + ' of ' + number(this.run.count) + ' back', 'error');
  },

  show() {
    if (this.run) $('burst-result').textContent = number(this.run.back) + ' of ' + number(this.run.count) + ' back';
    figures.show();
  },
};

