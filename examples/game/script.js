'use strict';
const $ = (id) => document.getElementById(id);
const PLAYER = 24, DOT = 10, SCALE = 32; // radii as in world.rs, scale of positions as in layout.rs
const KEYS = { ArrowUp: 1, KeyW: 1, ArrowDown: 2, KeyS: 2, ArrowLeft: 4, KeyA: 4, ArrowRight: 8, KeyD: 8 };
const now = () => performance.now();
const storage = sessionStorage; // per tab, because another tab is another player

let link = null;
let game = { seat: -1, width: 1600, height: 900, rate: 30 };
let names = new Map(); // seat → name
let shots = [null, null]; // the last two snapshots, the older first
let flashes = [];
let isRefused = false; // the log already says that the match is full

// ── messages from the server ──

function welcomed(welcome) {
  game = welcome;
  isRefused = false;
  storage.setItem('token', welcome.token);
  if (storage.getItem('seat') && !welcome.back) note('Your old seat is gone. You have a new one.');
  storage.setItem('seat', welcome.seat);
}

const events = {
  welcome: welcomed,
  joined: ({ seat, name }) => note(seat === game.seat ? `You joined as ${name}.` : `${name} joined.`),
  back: ({ seat, name }) => note(seat === game.seat ? 'You are back on your seat.' : `${name} is back.`),
  away: ({ name }) => note(`${name} lost the connection; the seat is kept for ${game.keep} s.`),
  left: ({ seat, name }) => { names.delete(seat); note(`${name} left.`); },
  hit({ seat, score, x, y }) {
    if (!matchMedia('(prefers-reduced-motion: reduce)').matches) flashes.push({ seat, x, y, at: now() });
    // Only every tenth hit is logged. All of them would be too much to read, and for a screen reader to read aloud.
    if (score % 10 === 0) note(`${names.get(seat) ?? 'Somebody'} has caught ${score} dots.`);
  },
};

function handleEvent(event) {
  if (event.players) names = new Map(event.players.map(({ seat, name }) => [seat, name]));
  events[event.type]?.(event);
}

function parseSnapshot(view) {
  let at = 1;
  const u8 = () => view.getUint8(at++);
  const u16 = () => (at += 2, view.getUint16(at - 2));
  const u32 = () => (at += 4, view.getUint32(at - 4));
  const [tick, late, playerCount, dotCount] = [u32(), u16(), u8(), u8()];
  const players = new Map();
  for (let n = 0; n < playerCount; n++) {
    const seat = u8();
    players.set(seat, { away: u8() === 1, x: u16() / SCALE, y: u16() / SCALE, score: u16(), ack: u16(), waiting: u8(), skipped: u32() });
  }
  const dots = Array.from({ length: dotCount }, () => ({ x: u16() / SCALE, y: u16() / SCALE }));
  return { tick, late, players, dots, at: now() };
}

const on = {
  open() {
    shots = [null, null];
    numbers.clear();
    sent.clear();
    shown = -1;
  },
  message(data) {
    if (typeof data === 'string') return handleEvent(JSON.parse(data));
    const view = new DataView(data);
    if (view.getUint8(0) === 2) return numbers.echoed(view.getUint32(1));
    const shot = parseSnapshot(view), last = shots[1];
    numbers.arrived(shot, last);
    shots = [last, shot];
  },
  ended(code, reason) {
    held.clear();
    if (code === 4008) note('This window was too slow for the events and was disconnected. It will reconnect to its seat.');
    if (code === 1013) {
      if (!isRefused) note(`No seat yet: ${reason}. This page retries until a seat is free.`);
      isRefused = true;
      link.tries = 3; // the connection opened only to be refused; as a failed attempt it is retried after 2 s, not 0.25 s
    }
    return code !== 4101 && code !== 4102; // reconnecting does not help if the seat was taken over or the server rejects our messages
  },
};

// ── messages to the server ──

// An input is the set of keys that are down. A tap counts as at least 80 ms, which is more than two ticks. Otherwise
// press and release could fall between two ticks, and the slot would only hold the release.
const held = new Set(), tapped = new Map(); // key → end of the tap
const sent = new Map(); // seq → time
let seq = 0, lastKeys = 0, lastSent = 0;

function press(key) { held.add(key); tapped.set(key, now() + 80); }

function sendInput() {
  let keys = 0;
  for (const key of held) keys |= key;
  for (const [key, until] of tapped) if (now() < until) keys |= key;
  // While a key is down its input is repeated, because the server ignores an input after half a second.
  if (!link?.isOpen || (keys === lastKeys && (keys === 0 || now() - lastSent < 150))) return;
  seq = (seq + 1) & 0xffff;
  // On a stalled connection the browser would buffer all inputs, but only the newest matters.
  if (link.socket.bufferedAmount > 256) return;
  link.send(new Uint8Array([1, seq >> 8, seq & 255, keys]));
  if (keys !== lastKeys) sent.set(seq, now());
  if (sent.size > 30) sent.delete(sent.keys().next().value);
  [lastKeys, lastSent] = [keys, now()];
}

function sendPing() {
  if (!link?.isOpen || link.socket.bufferedAmount > 256) return;
  const bytes = new DataView(new ArrayBuffer(5));
  bytes.setUint8(0, 2);
  bytes.setUint32(1, now() * 10); // tenths of a millisecond
  link.send(bytes.buffer);
}

const playing = () => link !== null;
addEventListener('keydown', (event) => {
  const key = KEYS[event.code];
  if (!key || !playing() || event.ctrlKey || event.metaKey || event.altKey || event.target.matches('input, #log')) return;
  event.preventDefault(); // otherwise the page would scroll
  if (!event.repeat) press(key);
});
addEventListener('keyup', (event) => held.delete(KEYS[event.code]));
// No keyup event arrives if the key is released in another window.
addEventListener('blur', () => held.clear());
document.addEventListener('visibilitychange', () => { if (document.hidden) held.clear(); });

for (const button of $('pad').children) {
  const key = Number(button.dataset.key);
  const down = (isDown) => { button.classList.toggle('down-now', isDown); if (isDown) press(key); else held.delete(key); };
  button.onpointerdown = (event) => { button.setPointerCapture(event.pointerId); down(true); };
  button.onpointerup = button.onpointercancel = button.onlostpointercapture = () => down(false);
  button.oncontextmenu = (event) => event.preventDefault();
  // A click by Enter or by a switch device has no pointer events. It counts as a short press.
  button.onclick = (event) => { if (event.detail === 0) { down(true); setTimeout(() => down(false), 150); } };
}

// ── statistics ──

const numbers = {
  clear() { this.recent = []; this.skipped = 0; this.trip = this.keyed = null; },
  arrived(shot, last) {
    const step = 1000 / game.rate;
    const ticks = last ? shot.tick - last.tick : 1;
    this.skipped += ticks - 1;
    this.recent.push({ at: shot.at, late: shot.late / 1000, uneven: last ? Math.abs(shot.at - last.at - ticks * step) : 0 });
    const ack = shot.players.get(game.seat)?.ack;
    if (sent.has(ack)) {
      this.keyed = shot.at - sent.get(ack);
      for (const old of [...sent.keys()]) { sent.delete(old); if (old === ack) break; }
    }
  },
  echoed(stamp) { this.trip = ((now() * 10 >>> 0) - stamp >>> 0) / 10; },
  show() {
    const from = now() - 3000;
    this.recent = this.recent.filter(({ at }) => at > from);
    const worst = (field) => this.recent.reduce((worst, entry) => Math.max(worst, entry[field]), 0);
    const ms = (number) => number === null ? '–' : `${number < 10 ? number.toFixed(1) : Math.round(number)} ms`;
    const span = this.recent.length > 1 ? this.recent.at(-1).at - this.recent[0].at : 0;
    $('rate').textContent = span ? `${Math.round((this.recent.length - 1) * 1000 / span)} per second` : '–';
    $('skipped').textContent = this.skipped;
    $('trip').textContent = ms(this.trip);
    $('keyed').textContent = ms(this.keyed);
    for (const field of ['late', 'uneven']) $(field).textContent = ms(span ? worst(field) : null);
  },
};
numbers.clear();

function note(text) {
  const item = document.createElement('li'), time = document.createElement('time');
  time.textContent = new Date().toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false });
  item.append(time, text);
  $('log').append(item);
  while ($('log').children.length > 100) $('log').firstChild.remove(); // bounds the log of a page that stays open for days
  $('log').scrollTop = $('log').scrollHeight;
}

const dark = matchMedia('(prefers-color-scheme: dark)');
// Neighbouring seats are far apart on the colour wheel.
const colour = (seat) => `hsl(${(195 + seat * 137.5) % 360} 65% ${dark.matches ? 62 : 42}%)`;
const nameOf = (seat) => names.get(seat) ?? `seat ${seat}`;

let shown = -1; // the tick that the table shows
function updateTable() {
  numbers.show();
  const shot = shots[1];
  if (!shot || shot.tick === shown) return;
  shown = shot.tick;
  const order = [...shot.players].sort(([, a], [, b]) => b.score - a.score);
  $('players').tBodies[0].replaceChildren(...order.map(([seat, player]) => {
    const row = document.createElement('tr');
    row.className = [seat === game.seat && 'mine', player.away && 'away'].filter(Boolean).join(' ');
    const mark = document.createElement('i');
    mark.style.background = colour(seat);
    const label = nameOf(seat) + (seat === game.seat ? ' (you)' : '') + (player.away ? ' – away' : '');
    for (const [n, text] of [label, player.score, player.waiting, player.skipped].entries()) {
      const cell = row.insertCell();
      if (n === 0) cell.append(mark);
      if (n === 2 && text > 0) cell.className = 'slow';
      cell.append(text);
    }
    return row;
  }));
}

// ── drawing ──

const canvas = $('canvas'), pen = canvas.getContext('2d');

/// Interpolates between the last two snapshots. The picture is one step behind the server, and nothing is extrapolated:
/// when the next snapshot is late, the picture stands still. An object that jumped, such as a caught dot, is drawn at
/// its new position.
function between(a, b, part) {
  return !a || Math.hypot(b.x - a.x, b.y - a.y) > 120 ? b : { x: a.x + (b.x - a.x) * part, y: a.y + (b.y - a.y) * part };
}

function draw() {
  requestAnimationFrame(draw);
  const [old, shot] = shots;
  if (!canvas.clientWidth) return;
  const wide = Math.round(canvas.clientWidth * devicePixelRatio), high = Math.round(wide * game.height / game.width);
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  const unit = canvas.clientWidth / game.width; // CSS pixels
  pen.setTransform(wide / game.width, 0, 0, wide / game.width, 0, 0);
  pen.clearRect(0, 0, game.width, game.height);
  const style = getComputedStyle(document.documentElement);
  const isLive = link?.isOpen && shot;
  canvas.style.opacity = isLive ? 1 : .4;
  $('veil').hidden = isLive;
  if (!isLive) $('veil').textContent = isRefused ? 'The match is full. Waiting for a seat …' : 'Not connected. The match continues without you …';
  if (!shot) return;
  const step = 1000 / game.rate * (old ? shot.tick - old.tick : 1);
  const part = Math.min((now() - shot.at) / step, 1);

  pen.fillStyle = style.getPropertyValue('--wait');
  for (const [n, dot] of shot.dots.entries()) circle(between(old?.dots[n], dot, part), Math.max(DOT, 3 / unit));
  flashes = flashes.filter(({ at }) => now() - at < 400);
  for (const { seat, x, y, at } of flashes) {
    const grown = (now() - at) / 400;
    pen.globalAlpha = 1 - grown;
    pen.strokeStyle = colour(seat);
    pen.lineWidth = 3 / unit;
    ring({ x, y }, DOT + 40 * grown);
  }
  pen.textAlign = 'center';
  pen.font = `600 ${13 / unit}px system-ui, sans-serif`;
  for (const [seat, player] of shot.players) {
    const at = between(old?.players.get(seat), player, part);
    pen.globalAlpha = player.away ? .35 : 1;
    pen.fillStyle = colour(seat);
    circle(at, PLAYER);
    if (seat === game.seat) {
      pen.strokeStyle = style.getPropertyValue('--text');
      pen.lineWidth = 2 / unit;
      ring(at, PLAYER + 5);
    }
    pen.fillStyle = style.getPropertyValue('--text');
    const below = at.y + PLAYER + 20 / unit < game.height;
    pen.fillText(seat === game.seat ? 'you' : nameOf(seat), Math.min(Math.max(at.x, 40 / unit), game.width - 40 / unit), below ? at.y + PLAYER + 17 / unit : at.y - PLAYER - 8 / unit);
  }
  pen.globalAlpha = 1;
}

function circle({ x, y }, radius) { pen.beginPath(); pen.arc(x, y, radius, 0, 7); pen.fill(); }
function ring({ x, y }, radius) { pen.beginPath(); pen.arc(x, y, radius, 0, 7); pen.stroke(); }

// ── joining and leaving ──

function play(name) {
  storage.setItem('name', name);
  $('me').textContent = name;
  $('enter').hidden = true;
  $('how').hidden = true;
  document.querySelector('main').hidden = false;
  $('canvas').focus();
  link = new Link(() => {
    const query = new URLSearchParams({ name });
    if (storage.getItem('token')) query.set('token', storage.getItem('token'));
    return `/ws?${query}`;
  }, on);
}

$('enter').onsubmit = (event) => {
  event.preventDefault();
  const name = $('name').value.trim();
  if (name) play(name);
};
$('leave').onclick = () => {
  link.send(new Uint8Array([3]));
  link.close();
  link = null;
  shots = [null, null];
  names.clear();
  held.clear();
  for (const key of ['token', 'seat']) storage.removeItem(key);
  $('log').replaceChildren();
  $('me').textContent = '';
  document.querySelector('main').hidden = true;
  $('enter').hidden = $('how').hidden = false;
  $('name').value = storage.getItem('name');
  storage.removeItem('name');
  $('name').focus();
};

setInterval(sendInput, 1000 / 30);
setInterval(sendPing, 500);
setInterval(updateTable, 200);
draw();
// After a reload the page continues on its seat, because its token is still stored.
if (storage.getItem('name')) play(storage.getItem('name'));
