'use strict';
const $ = (id) => document.getElementById(id);
const ROWS = 16, TRADES = 10; // shown
const MEANS = {
  'conflate': 'A new price takes the place of the one of its symbol that still waits. A slow reader gets fewer messages, each symbol in turn, and each as new as its line allows.',
  'drop-oldest': 'What has waited longest goes. What arrives is new, but which symbols it is about is luck: some are not seen for long.',
  'drop-newest': 'What comes when the queue is full is left out. A slow reader first gets what is old, and of some symbols nothing for long.',
  'block': 'The server waits for the slowest reader, and everybody gets prices at its pace. Who takes nothing at all for 2 s is cut.',
  'disconnect': 'Who has a whole queue waiting is cut (4008). It comes back, takes a new snapshot, and is cut again, as long as its line is too slow.',
};

// ── what is known ──

let quotes = new Map(); // symbol → {n, t, price, way}
let symbols = []; // sorted
let isFresh = true; // a snapshot is to come, and begins anew
const mine = { messages: 0, skipped: 0, waiting: 0, rate: null };
let trades = [], lastTrade = null, missed = 0, isTraded = false;
let looked = new Map(), compared = 0; // what a slow reader shows, and its number
let told = null; // the last status

// What time the server has. Answers to pings say it; the quickest is right to half its round trip. It may grow old, as
// clocks drift: each second a round trip that is 1 ms longer is good enough as well.
let offset = null, best = Infinity, asked = null;
const now = () => performance.now() + offset;

/// The rule of the feed: for each symbol the highest `n` wins. See book.rs.
function quote([symbol, n, t, price], isUpdate) {
  const known = quotes.get(symbol);
  if (!known) {
    quotes.set(symbol, { n, t, price, way: '' });
    symbols = null;
    return;
  }
  if (n <= known.n) return; // it was in the snapshot
  if (isUpdate) mine.skipped += n - known.n - 1;
  if (price !== known.price) known.way = price > known.price ? 'up' : 'down';
  known.n = n;
  known.t = t;
  known.price = price;
}

const kinds = {
  welcome({ symbols, rate, control }) {
    $('size').textContent = `${count(symbols)} symbols, ${rate} prices a second for each, ${count(symbols * rate)} messages a second`;
    $('control').disabled = !control;
    if (!control) say('Only programs on the machine of the server may change anything here.');
  },
  snapshot({ quotes: all }) {
    if (isFresh) quotes = new Map();
    isFresh = false;
    symbols = null;
    for (const one of all) quote(one, false);
  },
  trade(trade) {
    if (lastTrade !== null && trade.id > lastTrade + 1) {
      missed += trade.id - lastTrade - 1;
      trades.push({ gap: trade.id - lastTrade - 1 });
    }
    lastTrade = trade.id;
    trades.push(trade);
    if (trades.length > 2 * TRADES) trades = trades.slice(-TRADES);
    isTraded = true;
  },
  pong({ now, waiting }) {
    if (asked === null) return;
    const trip = performance.now() - asked;
    best += 1;
    if (trip <= best) {
      best = trip;
      offset = now + trip / 2 - performance.now();
    }
    asked = null;
    mine.waiting = waiting;
  },
  look({ reader, quotes }) {
    if (reader === compared) looked = new Map(quotes.map(([symbol, , t, price]) => [symbol, { t, price }]));
  },
  status,
  done({ done }) { say(`${done[0].toUpperCase()}${done.slice(1)}.`); },
  error({ why }) { say(`Not done: ${why}.`, 'bad'); },
};

const link = new Link(() => '/ws?topics=quotes,trades,status', {
  open() {
    isFresh = true;
    lastTrade = told = null;
    offset = asked = null;
    best = Infinity;
    ping();
  },
  message(data) {
    // Thousands a second are quotes: those do as little as may be, and what is seen is painted once a frame.
    if (data[0] === '[') {
      mine.messages++;
      return quote(JSON.parse(data), true);
    }
    const said = JSON.parse(data);
    kinds[said.type]?.(said);
  },
  ended(code) {
    $('control').disabled = true;
    if (code === 4008) say('This page was too slow for the policy and was cut; it comes back with a new snapshot.', 'bad');
  },
});

const command = (what) => link.send(JSON.stringify(what));
function ping() {
  // One at a time: the answer to an older one would be taken for this one's.
  if (asked !== null || !link.isOpen) return;
  asked = performance.now();
  command('ping');
}

// ── words ──

const count = (number) => number.toLocaleString('en');
const cents = (price) => (price / 100).toFixed(2);
const age = (ms) => ms === null ? '–' : ms < 1000 ? `${Math.max(0, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
let saidAt = 0;
/// The answer to what was done last. It goes after a while: somebody else may have done something since.
function say(text, kind = '') {
  $('said').textContent = text;
  $('said').dataset.kind = kind;
  saidAt = performance.now();
}
/// Written only when it changes: a browser lays out again what is written.
function put(cell, text) { if (cell.textContent !== text) cell.textContent = text; }

// ── readers ──

let before = null; // the status before the last, for rates
const rate = (here, there, span) => span > 0 ? Math.max(0, Math.round((here - there) * 1000 / span)) : null;

function status(next) {
  before = told;
  told = next;
  const policy = told.policy.split(':')[0];
  $('policy').value = policy;
  put($('means'), MEANS[policy] ?? '');
  $('pause').textContent = told.paused ? 'Resume prices' : 'Pause prices';
  const span = before ? told.now - before.now : 0;
  const made = before ? rate(told.published, before.published, span) : null;
  // Two may come at once, when somebody has changed something: of those the second says no rate.
  if (!before || span >= 100) put($('made'), made === null ? '–' : told.paused ? 'paused' : count(made));
  put($('delivered'), count(told.delivered));
  for (const name of ['conflate', 'drop-oldest', 'drop-newest']) put($(name), count(told.dropped[name]));
  put($('cut'), count(told.dropped.disconnect + told.dropped.block));
  put($('clients'), count(told.clients));
  put($('memory'), told.memory === null ? '–' : `${(told.memory / 1024).toFixed(1)} MiB`);
  readers(span);
}

const rows = new Map(); // number of a reader → its row; 0 is this page

function rowOf(id, name, line) {
  if (rows.has(id)) return rows.get(id);
  const row = $('readers').tBodies[0].insertRow();
  const head = row.insertCell(), small = document.createElement('span');
  small.textContent = ` ${line}`;
  head.append(name, small);
  for (let cell = 0; cell < 7; cell++) row.insertCell();
  if (id) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = 'Remove';
    button.setAttribute('aria-label', `Remove ${name}`);
    button.onclick = () => { command({ remove: id }); $('add').focus(); };
    row.cells[7].append(button);
  }
  rows.set(id, row);
  return row;
}

function fill(row, { rate, newest, oldest, skipped, waiting, cuts, why }) {
  const texts = [rate === null ? '–' : count(rate), age(newest), age(oldest), count(skipped), waiting === null ? '–' : count(waiting), cuts ? `${cuts}×` : '–'];
  texts.forEach((text, at) => put(row.cells[at + 1], text));
  // While nothing is made everything grows old, and that says nothing about anybody.
  const grade = (ms) => ms === null || told?.paused ? '' : ms > 5000 ? 'very-old' : ms > 1500 ? 'old' : '';
  row.cells[2].className = grade(newest);
  row.cells[3].className = grade(oldest);
  row.cells[6].title = why || '';
}

function readers(span) {
  const there = new Map(before?.readers.map((reader) => [reader.id, reader]));
  for (const reader of told.readers) {
    const row = rowOf(reader.id, `slow ${reader.id}`, `${reader.kib} KiB/s`);
    const old = there.get(reader.id);
    if (old && span >= 100) row.rate = rate(reader.messages, old.messages, span);
    fill(row, { ...reader, rate: row.rate ?? null });
  }
  for (const [id, row] of rows) {
    if (id && !told.readers.some((reader) => reader.id === id)) {
      row.remove();
      rows.delete(id);
    }
  }
  // The first slow one stands beside what this page sees, until somebody wants another.
  const ids = told.readers.map(({ id }) => id);
  if (!ids.includes(compared)) compare(ids[0] ?? 0);
  const select = $('compare');
  if (ids.join() !== [...select.options].map(({ value }) => value).join()) {
    select.replaceChildren(...told.readers.map(({ id, kib }) => new Option(`slow ${id} (${kib} KiB/s)`, id)));
    if (compared) select.value = compared;
  }
  $('with').hidden = !ids.length;
}

function compare(id) {
  compared = id;
  looked = new Map();
  $('theirs').textContent = `slow ${id} shows`;
  $('quotes').toggleAttribute('data-compared', id !== 0);
  if (id) command({ look: id });
}

// ── prices ──

let shown = []; // {symbol, cells, n}

/// Which symbols are shown: called when they, or the filter, have changed.
function list() {
  symbols = [...quotes.keys()].sort();
  const wanted = $('filter').value.trim().toUpperCase();
  const found = symbols.filter((symbol) => symbol.includes(wanted));
  const first = found.slice(0, ROWS);
  $('count').textContent = found.length ? `${first.length} of ${count(found.length)} shown${found.length > ROWS ? '; the filter finds the others' : ''}.` : 'No symbol has that in it.';
  if (first.join() === shown.map(({ symbol }) => symbol).join()) {
    for (const row of shown) row.n = 0;
    return;
  }
  const rows = first.map((symbol) => {
    const row = document.createElement('tr');
    row.insertCell().textContent = symbol;
    for (let cell = 0; cell < 4; cell++) row.insertCell().className = cell > 1 ? 'theirs' : '';
    return row;
  });
  $('quotes').tBodies[0].replaceChildren(...rows);
  shown = rows.map((row) => ({ symbol: row.cells[0].textContent, cells: row.cells, n: 0 }));
}

const isCalm = matchMedia('(prefers-reduced-motion: reduce)');

/// Once a frame, whatever has come: sixteen rows, and only those that have changed.
function paint() {
  requestAnimationFrame(paint);
  if (!symbols) list();
  for (const row of shown) {
    const quote = quotes.get(row.symbol);
    if (!quote || quote.n === row.n) continue;
    row.n = quote.n;
    const cell = row.cells[1];
    put(cell, cents(quote.price));
    cell.dataset.way = quote.way;
    if (!isCalm.matches) cell.toggleAttribute('data-flash', true);
  }
  if (isTraded) tape();
}

/// Ten times a second: what grows old without anything coming.
function ages() {
  $('prices').toggleAttribute('data-dead', !link.isOpen);
  if (offset === null || !link.isOpen) return;
  const time = now();
  for (const row of shown) {
    const quote = quotes.get(row.symbol);
    if (!quote) continue;
    put(row.cells[2], age(time - quote.t));
    // While prices come it stays lit: twenty times a second on and off would be hard on the eyes.
    if (time - quote.t > 250) row.cells[1].removeAttribute('data-flash');
    const theirs = looked.get(row.symbol);
    if (!compared) continue;
    put(row.cells[3], theirs ? cents(theirs.price) : '–');
    put(row.cells[4], theirs ? age(time - theirs.t) : '–');
    row.cells[3].classList.toggle('differs', Boolean(theirs) && theirs.price !== quote.price);
    row.cells[4].classList.toggle('old', Boolean(theirs) && !told?.paused && time - theirs.t > 1500);
  }
}

function tape() {
  isTraded = false;
  const pad = (text, width) => String(text).padStart(width);
  $('trades').replaceChildren(...trades.slice(-TRADES).reverse().map((trade) => {
    const item = document.createElement('li');
    if (trade.gap) {
      item.className = 'gap';
      item.textContent = `— ${count(trade.gap)} missed —`;
    } else {
      item.textContent = `${pad(trade.id, 7)} ${trade.symbol} ${pad(trade.size, 5)} × ${pad(cents(trade.price), 7)}`;
    }
    return item;
  }));
  put($('missed'), missed ? `${count(missed)} missed.` : 'None missed.');
}

// ── this page, as the others see theirs ──

let counted = { messages: 0, at: performance.now() }, late = 0;
function me() {
  const at = performance.now();
  mine.rate = rate(mine.messages, counted.messages, at - counted.at);
  counted = { messages: mine.messages, at };
  let newest = null, oldest = null;
  if (offset !== null && quotes.size) {
    let [last, first] = [-Infinity, Infinity];
    for (const { t } of quotes.values()) {
      if (t > last) last = t;
      if (t < first) first = t;
    }
    [newest, oldest] = [now() - last, now() - first];
  }
  // What a browser has taken off the line it queues without a bound, and no policy of a server sees it.
  late = newest > 3000 && mine.rate > 0 && !told?.paused ? late + 1 : 0;
  if (late === 3) say('This browser is behind: it takes more than it can show. Fewer symbols, or a lower rate, are arguments of the program.', 'bad');
  fill(rowOf(0, 'You', 'this page'), { ...mine, newest, oldest, cuts: 0, why: '' });
  if (compared && link.isOpen) command({ look: compared });
  if (performance.now() - saidAt > 8000 && !$('control').disabled) put($('said'), '');
}

// ── controls ──

$('policy').onchange = () => command({ policy: $('policy').value });
$('add').onclick = () => command({ slow: Number($('kib').value) });
$('pause').onclick = () => command(told?.paused ? 'resume' : 'pause');
$('compare').onchange = () => compare(Number($('compare').value));
$('filter').oninput = () => { symbols = null; };

me();
setInterval(me, 500);
setInterval(ages, 100);
setInterval(ping, 1000);
paint();
