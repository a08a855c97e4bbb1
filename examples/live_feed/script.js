'use strict';
const $ = (id) => document.getElementById(id);
const ROWS = 16, TRADES = 10; // numbers of displayed rows
const POLICY_TEXTS = {
  'conflate': 'A new price replaces the queued price of the same symbol. A slow reader receives fewer messages. The symbols take turns, and each price is as new as the connection allows.',
  'drop-oldest': 'When the queue is full, the oldest message is dropped. The prices that arrive are new, but the symbols are random, and some receive no update for a long time.',
  'drop-newest': 'When the queue is full, a new price is dropped. A slow reader receives old prices first, and for some symbols no update for a long time.',
  'block': 'The server waits for the slowest reader, so all readers receive prices at its pace. A reader that takes nothing for 2 s is disconnected.',
  'disconnect': 'A reader with a full queue is disconnected (4008). It reconnects, receives a new snapshot, and is disconnected again if its connection is too slow.',
};

// ── state ──

let quotes = new Map(); // symbol → {n, t, price, way}
let symbols = []; // sorted; null when the list must be rebuilt
let isFresh = true; // after a connect, until the snapshot has arrived
const mine = { messages: 0, skipped: 0, waiting: 0, rate: null };
let trades = [], lastTrade = null, missed = 0, isTraded = false;
let comparedQuotes = new Map(), compared = 0; // the prices that a slow reader shows, and its number
let current = null; // the last status

// The offset of the server's clock, computed from the answers to pings. The quickest answer is exact to half its round
// trip. Because clocks drift, the estimate expires: each ping accepts a round trip that is 1 ms longer than the best so
// far.
let offset = null, best = Infinity, pingedAt = null;
const now = () => performance.now() + offset;

/// Stores a quote. For each symbol the highest `n` wins, see book.rs.
function quote([symbol, n, t, price], isUpdate) {
  const known = quotes.get(symbol);
  if (!known) {
    quotes.set(symbol, { n, t, price, way: '' });
    symbols = null;
    return;
  }
  if (n <= known.n) return; // already in the snapshot
  if (isUpdate) mine.skipped += n - known.n - 1;
  if (price !== known.price) known.way = price > known.price ? 'up' : 'down';
  known.n = n;
  known.t = t;
  known.price = price;
}

const kinds = {
  welcome({ symbols, rate, control }) {
    $('size').textContent = `${count(symbols)} symbols with ${rate} prices per second each, ${count(symbols * rate)} messages per second`;
    $('control').disabled = !control;
    if (!control) showResult('The controls work only on the machine where the server runs.');
  },
  snapshot({ quotes: all }) {
    if (isFresh) quotes = new Map();
    isFresh = false;
    symbols = null;
    for (const entry of all) quote(entry, false);
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
    if (pingedAt === null) return;
    const trip = performance.now() - pingedAt;
    best += 1;
    if (trip <= best) {
      best = trip;
      offset = now + trip / 2 - performance.now();
    }
    pingedAt = null;
    mine.waiting = waiting;
  },
  look({ reader, quotes }) {
    if (reader === compared) comparedQuotes = new Map(quotes.map(([symbol, , t, price]) => [symbol, { t, price }]));
  },
  status,
  done({ done }) { showResult(`${done[0].toUpperCase()}${done.slice(1)}.`); },
  error({ why }) { showResult(`Command failed: ${why}.`, 'bad'); },
};

const link = new Link(() => '/ws?topics=quotes,trades,status', {
  open() {
    isFresh = true;
    lastTrade = current = null;
    offset = pingedAt = null;
    best = Infinity;
    ping();
  },
  message(data) {
    // Thousands of quotes arrive per second. They only update the state here, and `paint` shows it once per frame.
    if (data[0] === '[') {
      mine.messages++;
      return quote(JSON.parse(data), true);
    }
    const message = JSON.parse(data);
    kinds[message.type]?.(message);
  },
  ended(code) {
    $('control').disabled = true;
    if (code === 4008) showResult('This page was too slow for the policy and was disconnected. It reconnects and receives a new snapshot.', 'bad');
  },
});

const command = (value) => link.send(JSON.stringify(value));
function ping() {
  // Only one ping is pending, because an answer does not say to which ping it belongs.
  if (pingedAt !== null || !link.isOpen) return;
  pingedAt = performance.now();
  command('ping');
}

// ── formatting ──

const count = (number) => number.toLocaleString('en');
const cents = (price) => (price / 100).toFixed(2);
const age = (ms) => ms === null ? '–' : ms < 1000 ? `${Math.max(0, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`;
let resultAt = 0;
/// Shows the result of the last command. It disappears after 8 s, because another page may have changed something
/// since.
function showResult(text, kind = '') {
  $('result').textContent = text;
  $('result').dataset.kind = kind;
  resultAt = performance.now();
}
/// Writes a text only if it has changed, because each write causes a new layout.
function put(cell, text) { if (cell.textContent !== text) cell.textContent = text; }

// ── readers ──

let before = null; // the previous status, to compute rates
const rate = (newer, older, span) => span > 0 ? Math.max(0, Math.round((newer - older) * 1000 / span)) : null;

function status(next) {
  before = current;
  current = next;
  const policy = current.policy.split(':')[0];
  $('policy').value = policy;
  put($('means'), POLICY_TEXTS[policy] ?? '');
  $('pause').textContent = current.paused ? 'Resume prices' : 'Pause prices';
  const span = before ? current.now - before.now : 0;
  const made = before ? rate(current.published, before.published, span) : null;
  // After a change, two statuses may arrive in quick succession. The interval is then too short to compute a rate.
  if (!before || span >= 100) put($('made'), made === null ? '–' : current.paused ? 'paused' : count(made));
  put($('delivered'), count(current.delivered));
  for (const name of ['conflate', 'drop-oldest', 'drop-newest']) put($(name), count(current.dropped[name]));
  put($('disconnected'), count(current.dropped.disconnect + current.dropped.block));
  put($('clients'), count(current.clients));
  put($('memory'), current.memory === null ? '–' : `${(current.memory / 1024).toFixed(1)} MiB`);
  readers(span);
}

const rows = new Map(); // number of a reader → its row; 0 is this page

function rowOf(id, name, detail) {
  if (rows.has(id)) return rows.get(id);
  const row = $('readers').tBodies[0].insertRow();
  const head = row.insertCell(), small = document.createElement('span');
  small.textContent = ` ${detail}`;
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

function fill(row, { rate, newest, oldest, skipped, waiting, disconnects, why }) {
  const texts = [rate === null ? '–' : count(rate), age(newest), age(oldest), count(skipped), waiting === null ? '–' : count(waiting), disconnects ? `${disconnects}×` : '–'];
  texts.forEach((text, at) => put(row.cells[at + 1], text));
  // While the generator is paused, all prices get old, so their ages say nothing about a reader.
  const grade = (ms) => ms === null || current?.paused ? '' : ms > 5000 ? 'very-old' : ms > 1500 ? 'old' : '';
  row.cells[2].className = grade(newest);
  row.cells[3].className = grade(oldest);
  row.cells[6].title = why || '';
}

function readers(span) {
  const previous = new Map(before?.readers.map((reader) => [reader.id, reader]));
  for (const reader of current.readers) {
    const row = rowOf(reader.id, `slow ${reader.id}`, `${reader.kib} KiB/s`);
    const old = previous.get(reader.id);
    if (old && span >= 100) row.rate = rate(reader.messages, old.messages, span);
    fill(row, { ...reader, rate: row.rate ?? null });
  }
  for (const [id, row] of rows) {
    if (id && !current.readers.some((reader) => reader.id === id)) {
      row.remove();
      rows.delete(id);
    }
  }
  // By default, the prices of the first slow reader are compared with those of this page.
  const ids = current.readers.map(({ id }) => id);
  if (!ids.includes(compared)) compare(ids[0] ?? 0);
  const select = $('compare');
  if (ids.join() !== [...select.options].map(({ value }) => value).join()) {
    select.replaceChildren(...current.readers.map(({ id, kib }) => new Option(`slow ${id} (${kib} KiB/s)`, id)));
    if (compared) select.value = compared;
  }
  $('with').hidden = !ids.length;
}

function compare(id) {
  compared = id;
  comparedQuotes = new Map();
  $('theirs').textContent = `slow ${id} shows`;
  $('quotes').toggleAttribute('data-compared', id !== 0);
  if (id) command({ look: id });
}

// ── prices ──

let shown = []; // {symbol, cells, n}

/// Selects the displayed symbols. Called when the symbols or the filter have changed.
function list() {
  symbols = [...quotes.keys()].sort();
  const wanted = $('filter').value.trim().toUpperCase();
  const found = symbols.filter((symbol) => symbol.includes(wanted));
  const first = found.slice(0, ROWS);
  $('count').textContent = found.length ? `${first.length} of ${count(found.length)} shown${found.length > ROWS ? '; use the filter to find the others' : ''}.` : 'No symbol matches.';
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

/// Updates the rows that have changed, once per frame.
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
  if (isTraded) showTrades();
}

/// Updates the ages, ten times per second. They change even when no message arrives.
function ages() {
  $('prices').toggleAttribute('data-dead', !link.isOpen);
  if (offset === null || !link.isOpen) return;
  const time = now();
  for (const row of shown) {
    const quote = quotes.get(row.symbol);
    if (!quote) continue;
    put(row.cells[2], age(time - quote.t));
    // While prices arrive, the cell stays highlighted. Otherwise it would flicker twenty times per second.
    if (time - quote.t > 250) row.cells[1].removeAttribute('data-flash');
    const theirs = comparedQuotes.get(row.symbol);
    if (!compared) continue;
    put(row.cells[3], theirs ? cents(theirs.price) : '–');
    put(row.cells[4], theirs ? age(time - theirs.t) : '–');
    row.cells[3].classList.toggle('differs', Boolean(theirs) && theirs.price !== quote.price);
    row.cells[4].classList.toggle('old', Boolean(theirs) && !current?.paused && time - theirs.t > 1500);
  }
}

function showTrades() {
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

// ── this page's own row ──

let counted = { messages: 0, at: performance.now() }, late = 0;
function updateOwnRow() {
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
  // A browser queues received messages without a bound, and the server's policy cannot see that queue.
  late = newest > 3000 && mine.rate > 0 && !current?.paused ? late + 1 : 0;
  if (late === 3) showResult('This browser cannot keep up: it receives more than it can process. Start the program with fewer symbols or a lower rate.', 'bad');
  fill(rowOf(0, 'You', 'this page'), { ...mine, newest, oldest, disconnects: 0, why: '' });
  if (compared && link.isOpen) command({ look: compared });
  if (performance.now() - resultAt > 8000 && !$('control').disabled) put($('result'), '');
}

// ── controls ──

$('policy').onchange = () => command({ policy: $('policy').value });
$('add').onclick = () => command({ slow: Number($('kib').value) });
$('pause').onclick = () => command(current?.paused ? 'resume' : 'pause');
$('compare').onchange = () => compare(Number($('compare').value));
$('filter').oninput = () => { symbols = null; };

updateOwnRow();
setInterval(updateOwnRow, 500);
setInterval(ages, 100);
setInterval(ping, 1000);
paint();
