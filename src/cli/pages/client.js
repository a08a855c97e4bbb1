// ── The client: one WebSocket's life ────────────────────────────────────────────────────────────────────────────────
const CODES = {
  1000: 'normal', 1001: 'the server shuts down', 1002: 'protocol error', 1005: 'no code given', 1006: 'no Close was seen',
  1007: 'not UTF-8', 1008: 'policy', 1009: 'message too big', 1011: 'the handler failed', 1013: 'try again later',
  4008: 'slow consumer',
};

const client = {
  socket: null,
  comesBack: false,
  isMany: false,
  closing: false,
  /// When what was sent to /echo left. It comes back in order, so the first time here is the first message's.
  leftAt: null,
  sent: 0,
  received: 0,

  get isOpen() { return this.socket?.readyState === WebSocket.OPEN; },

  connect() {
    const url = target.url();
    many.stay();
    const socket = new WebSocket(url, target.isMany ? ['standpipe.v1'] : []);
    socket.binaryType = 'arraybuffer';
    Object.assign(this, { socket, comesBack: target.comesBack, isMany: target.isMany, closing: false, leftAt: target.isEcho ? [] : null, sent: 0, received: 0 });
    $('address').textContent = target.shown();
    $('round-trip').textContent = '–';
    log.add('life', 'connecting to ' + target.shown());
    socket.onopen = () => this.opened();
    socket.onmessage = (event) => this.take(event.data);
    socket.onclose = (event) => this.ended(event);
    figures.show();
  },

  opened() {
    log.add('life', 'open');
    if (this.isMany) many.opened();
    // Who is typing somewhere is left there, when this is a connection that came back by itself.
    if (document.activeElement === document.body || document.activeElement === $('connect')) {
      $(this.isMany ? 'sub-topic' : 'text').focus();
      if (this.isMany) $('sub-topic').select();
    }
    listed.look();
    figures.show();
  },

  send(data, shown) {
    if (!this.isOpen) return;
    this.leftAt?.push(performance.now());
    this.socket.send(data);
    this.sent++;
    log.add('out', shown);
    figures.show();
  },

  take(data) {
    this.received++;
    figures.show();
    if (this.isMany) return many.take(data);
    if (typeof data === 'string' && burst.take(data)) return;
    const left = this.leftAt?.shift();
    const trip = left === undefined ? '' : milliseconds(performance.now() - left);
    if (trip) $('round-trip').textContent = trip;
    if (typeof data === 'string') log.add('in', data, trip);
    else log.add('in', 'binary, ' + number(data.byteLength) + ' bytes: ' + hex(data), trip);
  },

  close(code, reason) {
    // The browser judges both: 1000 or 3000 to 4999, and at most 123 bytes.
    this.socket.close(...(code === '' ? [] : [Number(code), reason]));
    this.closing = true;
    log.add('life', 'closing' + (code === '' ? '' : ' with ' + code + (reason && ' “' + reason + '”')));
    figures.show();
  },

  ended({ code, reason, wasClean }) {
    const name = CODES[code] ? ' (' + CODES[code] + ')' : '';
    log.add(wasClean ? 'life' : 'bad', 'closed with ' + code + name + (reason && ' “' + reason + '”'));
    this.socket = null;
    burst.ended();
    if (this.isMany) many.ended(code, this.closing);
    figures.show();
    // What has the focus may just have been disabled.
    if (document.activeElement?.disabled) $('connect').focus();
  },
};

// ── Send many: are all back, in order, and how fast ─────────────────────────────────────────────────────────────────
const burst = {
  run: null,

  start(count) {
    // The name keeps our numbers apart from those of another tab on the topic.
    const name = 'many-' + Math.random().toString(36).slice(2, 8) + ' ';
    this.run = { name, count, sent: 0, back: 0, inOrder: true, since: performance.now() };
    log.add('out', number(count) + ' numbered messages');
    this.push(this.run);
  },

  /// Hands the browser no more than 1 MiB at a time: it would take it all, and hold it.
  push(run) {
    if (run !== this.run) return;
    while (run.sent < run.count && client.isOpen && client.socket.bufferedAmount < 1 << 20) {
      client.socket.send(run.name + run.sent++);
      client.sent++;
    }
    if (run.sent < run.count && client.isOpen) setTimeout(() => this.push(run), 1);
    else if (!client.comesBack) this.end(number(run.sent) + ' sent; echo=false: none comes back');
    this.show();
  },

  take(text) {
    const run = this.run;
    if (!run || !text.startsWith(run.name)) return false;
    run.inOrder &&= text === run.name + run.back;
    if (++run.back === run.count) {
      const seconds = (performance.now() - run.since) / 1000;
      this.end(number(run.count) + ' of ' + number(run.count) + ' back, ' + (run.inOrder ? 'in order' : 'OUT OF ORDER') + ', '
        + number(run.count / seconds) + ' msgs/s', run.inOrder ? 'in' : 'bad');
    }
    return true;
  },

  end(text, kind = 'life') {
    this.run = null;
    $('many').textContent = text;
    log.add(kind, text);
    figures.show();
  },

  ended() {
    if (this.run) this.end('ended with ' + number(this.run.back) + ' of ' + number(this.run.count) + ' back', 'bad');
  },

  show() {
    if (this.run) $('many').textContent = number(this.run.back) + ' of ' + number(this.run.count) + ' back';
    figures.show();
  },
};

