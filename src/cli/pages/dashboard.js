// The dashboard's WebSocket, its figures and its table of clients. src/PROTOCOL.md describes the snapshots.
const $ = (id) => document.getElementById(id);
const number = (n) => n.toLocaleString('en');
/// Sets the text only if it has changed, because most rows stay the same from one snapshot to the next.
const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const bytes = (n) => n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`;
const time = (ms) => ms < 1000 ? `${ms} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : ms < 3_600_000 ? `${Math.floor(ms / 60_000)} min` : `${(ms / 3_600_000).toFixed(1)} h`;
/// The maximum number of rows in the table. The filter finds the other clients.
const maxRows = 100;

let socket, snapshot, retry, retryDelay = 500, key = '';

/// Takes the key from the URL, and removes it from the address bar and from the history of the browser.
function takeKey() {
  const found = new URLSearchParams(location.hash.slice(1)).get('key');
  if (found === null) return false;
  history.replaceState(null, '', location.pathname + location.search);
  key = found;
  return true;
}

takeKey();
// A URL with a new key may be pasted while this page is open.
addEventListener('hashchange', () => { if (takeKey()) { socket.onclose = null; socket.close(); connect(); } });

function connect() {
  // A retry may be pending when a person enters a key.
  clearTimeout(retry);
  const url = location.origin.replace(/^http/, 'ws') + '/dashboard/live';
  const connection = key ? new WebSocket(url, ['standpipe.raw', 'bearer.' + key]) : new WebSocket(url);
  let wasOpen = false;
  socket = connection;
  showState('connecting', 'connecting');
  connection.onopen = () => {
    wasOpen = true;
    retryDelay = 500;
    $('key-form').hidden = true;
    // A browser sends no key when it follows a link.
    $('links').hidden = key !== '';
    showState('open', 'live');
  };
  connection.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.server) show(message);
    else showStatus(message.done ?? message.error, message.error !== undefined);
  };
  connection.onclose = ({ code }) => {
    showState('closed', wasOpen ? `connection closed with ${code}` : 'not connected');
    // The server refused the connection, perhaps because it requires a key.
    if (!wasOpen) $('key-form').hidden = false;
    if (wasOpen || !key) retry = setTimeout(connect, retryDelay = Math.min(retryDelay * 2, 10_000));
  };
}

$('key-form').onsubmit = (event) => {
  event.preventDefault();
  key = $('key').value.trim();
  try { connect(); } catch { showStatus('This key contains characters that a browser cannot send.', true); }
};

function showState(name, text) {
  $('state').dataset.state = name;
  put($('state'), text);
}

function showStatus(text, isError = false) {
  $('status').className = isError ? 'small invalid' : 'small';
  put($('status'), text);
}

function sendCommand(command) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(command));
}

/// Returns how full a client's queue is, from 0 to 1: by messages or by bytes, whichever is fuller.
const fullness = (client) => Math.min(1, Math.max(client.messages / client.capacity, client.bytesQueued / snapshot.server.queue_bytes));

/// Converts a client's row of a snapshot, which is an array, to an object.
function toClient([client, peer, topics, threads, queue, unacknowledged, counts, roundTrip]) {
  const [reader, readerSince, writer, writerSince] = threads;
  const [messages, capacity, bytesQueued, blockedFor] = queue;
  const [delivered, dropped, discarded, rate] = counts;
  return { client, peer, topics, reader, readerSince, writer, writerSince, messages, capacity, bytesQueued, blockedFor, unacknowledged, delivered, dropped, discarded, rate, roundTrip };
}

function show(received) {
  snapshot = received;
  snapshot.clients = snapshot.clients.map(toClient);
  const sum = (field) => snapshot.clients.reduce((sum, client) => sum + client[field], 0);
  put($('f-clients'), number(snapshot.server.clients));
  put($('f-rate'), number(sum('rate')));
  put($('f-queued'), number(sum('messages')));
  put($('f-dropped'), number(snapshot.server.dropped));
  put($('f-blocked'), number(snapshot.clients.filter((client) => client.blockedFor > 0).length));
  put($('f-took'), `${(snapshot.took_us / 1000).toFixed(1)} ms`);
  showServers(snapshot.machines);
  showClients();
  showTopics(snapshot.topics);
  showExperiments(snapshot);
}

const comparisons = {
  queue: (a, b) => fullness(b) - fullness(a) || b.blockedFor - a.blockedFor || a.client - b.client,
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
  }).sort(comparisons[$('sort').value]);
  const shown = found.slice(0, maxRows);
  const policies = new Map(snapshot.topics.map((topic) => [topic.topic, topic.policy]));
  update($('clients').tBodies[0], rows, shown, (client) => client.client, clientRow, (row, client) => fillClient(row, client, slow.get(client.peer), policies));
  const all = snapshot.server.clients;
  put($('rows-note'), found.length > shown.length || words.length > 0 || all > snapshot.clients.length
    ? `${number(shown.length)} of ${number(all)} clients shown` : '');
}

/// Updates the children of `parent`: one element for each item, in the items' order. Existing elements are reused.
function update(parent, elements, items, keyOf, make, fill) {
  const unused = new Set(elements.keys());
  let at = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    unused.delete(key);
    let element = elements.get(key);
    if (!element) elements.set(key, element = make(item));
    if (element === at) at = at.nextSibling;
    else parent.insertBefore(element, at);
    fill(element, item);
  }
  for (const key of unused) {
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
  const id = cell(row, 'client', 'client');
  const queue = cell(row, 'queue', 'queue');
  const bar = make('span', 'bar');
  const fill = make('i');
  bar.append(fill);
  const threads = (td) => [make('span'), make('span', 'sub')].map((part) => (td.append(part), part));
  const parts = { id: make('span'), peer: make('span', 'sub'), depth: make('span'), bar, fill };
  id.append(parts.id, parts.peer);
  queue.append(parts.depth, bar);
  for (const [key, name] of [['blockedFor', 'blocked for'], ['rate', 'messages/s'], ['dropped', 'dropped']]) parts[key] = cell(row, name, 'n');
  [parts.reader, parts.writer] = threads(cell(row, 'threads', 'threads wide-cell'));
  parts.reader.className = 'sub';
  parts.topics = cell(row, 'topics', 'wide-cell');
  parts.roundTrip = cell(row, 'round trip', 'n');
  parts.unacknowledged = cell(row, 'unacknowledged', 'n');
  row.parts = parts;
  return row;
}

function fillClient(row, client, name, policies) {
  const parts = row.parts;
  const full = fullness(client);
  // A queue that is limited by bytes is seldom filled to the last byte, so 95 % counts as full.
  const level = full >= .95 ? 'bar full' : full >= .5 ? 'bar warm' : 'bar';
  put(parts.id, name ? `${client.client} · ${name}` : String(client.client));
  put(parts.peer, client.peer);
  put(parts.depth, `${client.messages} of ${client.capacity} · ${bytes(client.bytesQueued)}`);
  if (parts.bar.className !== level) parts.bar.className = level;
  const width = `${Math.round(full * 100)}%`;
  if (parts.fill.style.width !== width) parts.fill.style.width = width;
  put(parts.blockedFor, client.blockedFor ? time(client.blockedFor) : '–');
  put(parts.rate, number(client.rate));
  put(parts.dropped, number(client.dropped));
  parts.dropped.classList.toggle('hot', row.dropped !== undefined && client.dropped > row.dropped);
  row.dropped = client.dropped;
  put(parts.reader, `sp-${client.client}-read: ${client.reader}, ${time(client.readerSince)}`);
  put(parts.writer, `sp-${client.client}-write: ${client.writer}, ${time(client.writerSince)}`);
  const topics = client.topics.slice(0, 5).map((topic) => policies.has(topic) ? `${topic} (${policies.get(topic)})` : topic);
  if (client.topics.length > 5) topics.push(`and ${client.topics.length - 5} more`);
  put(parts.topics, topics.join(', ') || '–');
  put(parts.roundTrip, client.roundTrip === null ? '–' : time(Number(client.roundTrip.toPrecision(3))));
  put(parts.unacknowledged, client.unacknowledged === null ? '–' : bytes(client.unacknowledged));
}

$('find').oninput = showClients;
$('sort').onchange = showClients;
