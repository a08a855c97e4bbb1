// The dashboard's socket, its figures and its table of clients. What a snapshot holds is in src/PROTOCOL.md.
const $ = (id) => document.getElementById(id);
const number = (n) => n.toLocaleString('en');
/// Text is set only where it has changed: a thousand rows stay still while ten of them move.
const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const bytes = (n) => n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`;
const time = (ms) => ms < 1000 ? `${ms} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : ms < 3_600_000 ? `${Math.floor(ms / 60_000)} min` : `${(ms / 3_600_000).toFixed(1)} h`;
/// Rows on the screen; the filter finds the others.
const mostRows = 100;

let socket, snapshot, wait = 500, key = '';

function connect() {
  const url = location.origin.replace(/^http/, 'ws') + '/dashboard/live';
  const opened = key ? new WebSocket(url, ['standpipe.raw', 'bearer.' + key]) : new WebSocket(url);
  let wasOpen = false;
  socket = opened;
  state('connecting', 'connecting');
  opened.onopen = () => { wasOpen = true; wait = 500; $('key-form').hidden = true; state('open', 'live'); };
  opened.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.server) show(message);
    else say(message.done ?? message.error, message.error !== undefined);
  };
  opened.onclose = ({ code }) => {
    state('closed', wasOpen ? `closed with ${code}` : 'no connection');
    // Refused before it was open: perhaps for want of a key.
    if (!wasOpen) $('key-form').hidden = false;
    if (wasOpen || !key) setTimeout(connect, wait = Math.min(wait * 2, 10_000));
  };
}

$('key-form').onsubmit = (event) => {
  event.preventDefault();
  key = $('key').value.trim();
  try { connect(); } catch { say('this key cannot be a subprotocol', true); }
};

function state(name, text) {
  $('state').dataset.state = name;
  put($('state'), text);
}

function say(text, isBad = false) {
  $('said').className = isBad ? 'small invalid' : 'small';
  put($('said'), text);
}

function order(what) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(what));
}

/// How much of its room is taken: of messages or of bytes, whichever is nearer its end.
const share = (client) => Math.min(1, Math.max(client.messages / client.capacity, client.held / snapshot.server.queue_bytes));

/// A client of a snapshot, by name.
function named([client, peer, topics, threads, queue, kernel, books, roundTrip]) {
  const [reader, readerSince, writer, writerSince] = threads;
  const [messages, capacity, held, oldest] = queue;
  const [delivered, dropped, discarded, rate] = books;
  return { client, peer, topics, reader, readerSince, writer, writerSince, messages, capacity, held, oldest, kernel, delivered, dropped, discarded, rate, roundTrip };
}

function show(seen) {
  seen.clients = seen.clients.map(named);
  snapshot = seen;
  const sum = (what) => seen.clients.reduce((sum, client) => sum + client[what], 0);
  put($('f-clients'), number(seen.server.clients));
  put($('f-rate'), number(sum('rate')));
  put($('f-queued'), number(sum('messages')));
  put($('f-dropped'), number(seen.server.dropped));
  put($('f-blocked'), number(seen.clients.filter((client) => client.oldest > 0).length));
  put($('f-took'), `${(seen.took_us / 1000).toFixed(1)} ms`);
  showClients();
  showTopics(seen.topics);
  showSlow(seen);
}

const orders = {
  queue: (a, b) => share(b) - share(a) || b.oldest - a.oldest || a.client - b.client,
  rate: (a, b) => b.rate - a.rate || a.client - b.client,
  dropped: (a, b) => b.dropped - a.dropped || a.client - b.client,
  number: (a, b) => a.client - b.client,
};

const rows = new Map();

function showClients() {
  if (!snapshot) return;
  const words = $('find').value.toLowerCase().split(/\s+/).filter(Boolean);
  const slow = new Map(snapshot.slow.map((slow) => [slow.peer, slow.name]));
  const found = snapshot.clients.filter((client) => {
    const text = `${client.client} ${client.peer} ${slow.get(client.peer) ?? ''} ${client.topics.join(' ')} ${client.reader} ${client.writer}`.toLowerCase();
    return words.every((word) => text.includes(word));
  }).sort(orders[$('sort').value]);
  const shown = found.slice(0, mostRows);
  const policies = new Map(snapshot.topics.map((topic) => [topic.topic, topic.policy]));
  place($('clients').tBodies[0], rows, shown, (client) => client.client, clientRow, (row, client) => fillClient(row, client, slow.get(client.peer), policies));
  const all = snapshot.server.clients;
  put($('shown'), found.length > shown.length || words.length > 0 || all > snapshot.clients.length
    ? `${number(shown.length)} of ${number(all)} clients are shown` : '');
}

/// Keeps one element for each item, in the items' order, and touches no other.
function place(parent, elements, items, keyOf, make, fill) {
  const left = new Set(elements.keys());
  let at = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    left.delete(key);
    let element = elements.get(key);
    if (!element) elements.set(key, element = make(item));
    if (element === at) at = at.nextSibling;
    else parent.insertBefore(element, at);
    fill(element, item);
  }
  for (const key of left) {
    elements.get(key).remove();
    elements.delete(key);
  }
}

function make(tag, className = '', text = '') {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function cell(row, name, className) {
  const td = make('td', className);
  td.dataset.name = name;
  row.append(td);
  return td;
}

function clientRow() {
  const row = make('tr');
  const id = cell(row, 'client', '');
  const queue = cell(row, 'queue', 'queue');
  const bar = make('span', 'bar');
  const fill = make('i');
  bar.append(fill);
  const threads = (td) => [make('span'), make('span', 'sub')].map((part) => (td.append(part), part));
  const parts = { id: make('span'), peer: make('span', 'sub'), depth: make('span'), bar, fill };
  id.append(parts.id, parts.peer);
  queue.append(parts.depth, bar);
  for (const [key, name] of [['oldest', 'oldest'], ['rate', 'messages/s'], ['dropped', 'dropped']]) parts[key] = cell(row, name, 'n');
  [parts.reader, parts.writer] = threads(cell(row, 'threads', 'threads wide-cell'));
  parts.reader.className = 'sub';
  parts.topics = cell(row, 'topics', 'wide-cell');
  parts.roundTrip = cell(row, 'round trip', 'n');
  parts.kernel = cell(row, 'in the kernel', 'n');
  row.parts = parts;
  return row;
}

function fillClient(row, client, name, policies) {
  const parts = row.parts;
  const taken = share(client);
  // Room for one more is seldom exact where bytes are the limit.
  const level = taken >= .95 ? 'bar full' : taken >= .5 ? 'bar warm' : 'bar';
  put(parts.id, name ? `${client.client} · ${name}` : String(client.client));
  put(parts.peer, client.peer);
  put(parts.depth, `${client.messages} of ${client.capacity} · ${bytes(client.held)}`);
  if (parts.bar.className !== level) parts.bar.className = level;
  const width = `${Math.round(taken * 100)}%`;
  if (parts.fill.style.width !== width) parts.fill.style.width = width;
  put(parts.oldest, client.oldest ? time(client.oldest) : '–');
  put(parts.rate, number(client.rate));
  put(parts.dropped, number(client.dropped));
  parts.dropped.classList.toggle('hot', row.dropped !== undefined && client.dropped > row.dropped);
  row.dropped = client.dropped;
  put(parts.reader, `sp-${client.client}-read: ${client.reader}, ${time(client.readerSince)}`);
  put(parts.writer, `sp-${client.client}-write: ${client.writer}, ${time(client.writerSince)}`);
  const topics = client.topics.slice(0, 5).map((topic) => policies.has(topic) ? `${topic} (${policies.get(topic)})` : topic);
  if (client.topics.length > 5) topics.push(`and ${client.topics.length - 5} more`);
  put(parts.topics, topics.join(', ') || '–');
  put(parts.roundTrip, client.roundTrip === null ? '–' : time(client.roundTrip));
  put(parts.kernel, client.kernel === null ? '–' : bytes(client.kernel));
}

$('find').oninput = showClients;
$('sort').onchange = showClients;
