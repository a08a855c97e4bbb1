// ── Helpers ─────────────────────────────────────────────────────────────────────────────────────────────────────────
const $ = (id) => document.getElementById(id);
const number = (n) => Math.round(n).toLocaleString('en');
const utf8Length = (text) => new TextEncoder().encode(text).length;
const milliseconds = (ms) => (ms < 10 ? ms.toFixed(1) : number(ms)) + ' ms';

function size(bytes) {
  if (bytes < 1024) return bytes + ' B';
  return bytes < 1 << 20 ? (bytes / 1024).toFixed(1) + ' KiB' : (bytes / (1 << 20)).toFixed(1) + ' MiB';
}

function hex(buffer, limit = 32) {
  const digits = Array.from(new Uint8Array(buffer, 0, Math.min(limit, buffer.byteLength)), (b) => b.toString(16).padStart(2, '0'));
  return digits.join(' ') + (buffer.byteLength > limit ? ' …' : '');
}

// ── The log: the last 500 lines, inserted as text and never as markup ───────────────────────────────────────────────
const log = {
  maxLines: 500,
  maxLength: 2000,
  pending: [],
  timer: 0,

  /// Adds a line. The kind is in, out, status (of the connection), gap, presence or error. Lines are shown in batches, so
  /// that the page stays responsive during a burst.
  add(kind, text, note = '') {
    this.pending.push({ kind, text, note, at: new Date() });
    if (this.pending.length > this.maxLines) this.pending.shift();
    this.timer ||= setTimeout(() => this.show(), 30);
  },

  show() {
    this.timer = 0;
    const list = $('log');
    const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    list.append(...this.pending.splice(0).map((line) => this.line(line)));
    while (list.childElementCount > this.maxLines) list.firstElementChild.remove();
    // The log does not scroll down while the user has scrolled up to read older lines.
    if (isAtEnd) list.scrollTop = list.scrollHeight;
  },

  line({ kind, text, note, at }) {
    const part = (tag, className, textContent) => Object.assign(document.createElement(tag), { className, textContent });
    const time = at.toTimeString().slice(0, 8) + '.' + String(at.getMilliseconds()).padStart(3, '0');
    const shortened = text.length > this.maxLength ? text.slice(0, this.maxLength) + '…' : text;
    const item = part('li', kind, '');
    item.append(part('time', '', time), part('span', 'mark', { in: '←', out: '→', status: '·', gap: '≠', presence: '○', error: '!' }[kind]),
      part('span', 'what', shortened), part('span', 'note', note));
    return item;
  },

  clear() {
    this.pending = [];
    $('log').replaceChildren();
  },
};

