// The dashboard's WebSocket and its figures. src/PROTOCOL.md describes the snapshots and the commands.
const $ = (id) => document.getElementById(id);
const number = (n) => n.toLocaleString('en');
/// Sets the text only if it has changed, because most rows stay the same from one snapshot to the next.
const put = (element, text) => { if (element.textContent !== text) element.textContent = text; };
const bytes = (n) => n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`;
const time = (ms) => ms < 1000 ? `${ms} ms` : ms < 60_000 ? `${(ms / 1000).toFixed(1)} s` : ms < 3_600_000 ? `${Math.floor(ms / 60_000)} min` : `${(ms / 3_600_000).toFixed(1)} h`;

let socket, snapshot, retry, retryDelay = 500, key = '';
/// The functions that take the answers to the commands that were sent. Answers arrive in the order of the commands.
let pendingAnswers = [];

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
addEventListener('hashchange', () => { if (takeKey()) { socket.onclose = socket.onmessage = null; socket.close(); connect(); } });

function connect() {
  // A retry may be pending when a person enters a key.
  clearTimeout(retry);
  const url = location.origin.replace(/^http/, 'ws') + '/dashboard/live';
  const connection = key ? new WebSocket(url, ['standpipe.raw', 'bearer.' + key]) : new WebSocket(url);
  let wasOpen = false;
  socket = connection;
  pendingAnswers = [];
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
    else pendingAnswers.shift()?.(message);
  };
  connection.onclose = ({ code }) => {
    showState('closed', wasOpen ? `connection closed with ${code}` : 'not connected');
    clientTable.connectionClosed();
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

function showStatus(text, isError = false, place = 'status') {
  $(place).className = isError ? 'small invalid' : 'small';
  put($(place), text);
}

/// Sends a command. The answer is shown in the element with the id `place`.
function sendCommand(command, place = 'status') {
  ask(command, ({ done, error }) => showStatus(done ?? error, error !== undefined, place));
}

/// Sends a command, and calls `answered` with its answer. Returns whether the command was sent.
function ask(command, answered) {
  if (socket.readyState !== WebSocket.OPEN) return false;
  pendingAnswers.push(answered);
  socket.send(JSON.stringify(command));
  return true;
}

function show(received) {
  snapshot = received;
  const { server } = snapshot;
  put($('f-clients'), number(server.clients));
  put($('f-rate'), number(server.rate));
  put($('f-queued'), number(server.queued));
  put($('f-dropped'), number(server.dropped));
  put($('f-blocked'), number(server.blocked));
  put($('f-took'), `${(snapshot.took_us / 1000).toFixed(1)} ms`);
  $('start-page').hidden = !server.has_page;
  showServers(snapshot.machines);
  showTopics(snapshot.topics);
  showExperiments(snapshot);
  clientTable.ask();
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

/// Adds a cell. The roles of rows and cells are explicit, because a phone shows them as blocks and not as a table.
function cell(row, name, className) {
  const td = make('td', className);
  td.setAttribute('role', 'cell');
  td.dataset.name = name;
  row.append(td);
  return td;
}

function tableRow() {
  const row = make('tr');
  row.setAttribute('role', 'row');
  return row;
}
