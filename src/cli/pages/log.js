// ── Small things ────────────────────────────────────────────────────────────────────────────────────────────────────
const $ = (id) => document.getElementById(id);
const number = (n) => Math.round(n).toLocaleString('en');
const utf8Length = (text) => new TextEncoder().encode(text).length;
const milliseconds = (ms) => (ms < 10 ? ms.toFixed(1) : number(ms)) + ' ms';

function size(bytes) {
  if (bytes < 1024) return bytes + ' B';
  return bytes < 1 << 20 ? (bytes / 1024).toFixed(1) + ' KiB' : (bytes / (1 << 20)).toFixed(1) + ' MiB';
}

function hex(buffer, most = 32) {
  const shown = Array.from(new Uint8Array(buffer, 0, Math.min(most, buffer.byteLength)), (b) => b.toString(16).padStart(2, '0'));
  return shown.join(' ') + (buffer.byteLength > most ? ' …' : '');
}

// ── The log: the last 500 lines, as text and never as markup ────────────────────────────────────────────────────────
const log = {
  lines: 500,
  longest: 2000,
  waiting: [],
  timer: 0,

  /// kind: in, out, life (of the connection), gap, who (came or left) or bad. A burst is shown in one go, so that the page stays usable.
  add(kind, what, note = '') {
    this.waiting.push({ kind, what, note, at: new Date() });
    if (this.waiting.length > this.lines) this.waiting.shift();
    this.timer ||= setTimeout(() => this.show(), 30);
  },

  show() {
    this.timer = 0;
    const list = $('log');
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(...this.waiting.splice(0).map((line) => this.line(line)));
    while (list.childElementCount > this.lines) list.firstElementChild.remove();
    // Whoever has scrolled up to read is left in peace.
    if (atEnd) list.scrollTop = list.scrollHeight;
  },

  line({ kind, what, note, at }) {
    const part = (tag, name, text) => Object.assign(document.createElement(tag), { className: name, textContent: text });
    const time = at.toTimeString().slice(0, 8) + '.' + String(at.getMilliseconds()).padStart(3, '0');
    const shown = what.length > this.longest ? what.slice(0, this.longest) + '…' : what;
    const item = part('li', kind, '');
    item.append(part('time', '', time), part('span', 'mark', { in: '←', out: '→', life: '·', gap: '≠', who: '○', bad: '!' }[kind]),
      part('span', 'what', shown), part('span', 'note', note));
    return item;
  },

  clear() {
    this.waiting = [];
    $('log').replaceChildren();
  },
};

