// The table of clients. The server searches and sorts, and sends only the rows that are shown.

/// The number of rows on one page of the table.
const pageRows = 100;
/// The order in which each column is sorted first. A second click on its heading reverses it.
const firstOrders = { client: 'ascending', address: 'ascending', user: 'ascending' };

/// Converts a client's row, which is an array, to an object.
function toClient([client, peer, topics, threads, queue, unacknowledged, counts, roundTrip, user, experiment, tls]) {
  const [reader, readerSince, writer, writerSince] = threads;
  const [messages, capacity, bytesQueued, blockedFor] = queue;
  const [delivered, dropped, discarded, rate] = counts;
  return { client, peer, topics, reader, readerSince, writer, writerSince, messages, capacity, bytesQueued, blockedFor, unacknowledged, delivered, dropped, discarded, rate, roundTrip, user, experiment, tls };
}

/// Returns how full a client's queue is, from 0 to 1: by messages or by bytes, whichever is fuller.
const fullness = (client) => Math.min(1, Math.max(client.messages / client.capacity, client.bytesQueued / snapshot.server.queue_bytes));

const clientTable = {
  rows: new Map(),
  /// The clients that are shown, in the order of their rows.
  shown: [],
  found: 0,
  skip: 0,
  isReversed: false,
  /// An answer is pending. The next question waits for it, so a slow network is not flooded with questions.
  isWaiting: false,
  mustAskAgain: false,
  /// The search has changed. The next question is about the new search, and a screen reader reads how many clients it finds.
  isNewSearch: false,

  get body() { return $('clients').tBodies[0]; },

  /// Rows do not move while a person points at one of them or is about to disconnect a client. Otherwise the next row
  /// would be under the pointer at the moment of the click.
  get isHeld() {
    return this.shown.length > 0 && (this.body.matches(':focus-within') || $('disconnect').open
      || matchMedia('(hover: hover)').matches && this.body.matches(':hover'));
  },

  /// Asks for the rows. An answer shows them.
  ask() {
    if (this.isWaiting) {
      this.mustAskAgain = true;
      return;
    }
    this.mustAskAgain = false;
    const isHeld = this.isHeld && !this.isNewSearch;
    const question = isHeld ? { do: 'rows', clients: this.shown.map(({ client }) => client) }
      : { do: 'find', text: $('find').value, sort: $('sort').value, reverse: this.isReversed, skip: this.skip, rows: pageRows };
    const isNewSearch = this.isNewSearch;
    this.isWaiting = ask(question, (answer) => this.answered(answer, isHeld, isNewSearch));
    if (this.isWaiting) this.isNewSearch = false;
  },

  answered(answer, isHeld, isNewSearch) {
    this.isWaiting = false;
    if (answer.error !== undefined) showStatus(answer.error, true, 'clients-status');
    else if (isHeld) this.showHeld(answer.clients.map(toClient));
    else this.showFound(answer.clients.map(toClient), answer.found);
    if (isNewSearch && answer.error === undefined) put($('found'), answer.found === 1 ? '1 client found' : `${number(answer.found)} clients found`);
    if (this.mustAskAgain) this.ask();
  },

  connectionClosed() {
    this.isWaiting = this.mustAskAgain = false;
  },

  /// Asks again after the user has changed the search or the order.
  search() {
    this.skip = 0;
    this.isNewSearch = true;
    this.ask();
  },

  sortBy(column, isReversed) {
    $('sort').value = column;
    this.isReversed = isReversed;
    this.search();
  },

  turnPage(rows) {
    this.skip = Math.max(0, this.skip + rows);
    this.isNewSearch = true;
    this.ask();
  },

  showFound(clients, found) {
    // Clients of the last page may have gone.
    if (clients.length === 0 && found > 0) {
      this.skip = Math.floor((found - 1) / pageRows) * pageRows;
      return this.ask();
    }
    [this.shown, this.found] = [clients, found];
    this.show(false);
  },

  /// Updates the rows where they are. The rows of clients that have gone stay until the order changes again.
  showHeld(clients) {
    const present = new Map(clients.map((client) => [client.client, client]));
    this.shown = this.shown.map((client) => present.get(client.client) ?? { ...client, isGone: true });
    this.show(true);
  },

  show(isHeld) {
    update(this.body, this.rows, this.shown, ({ client }) => client, clientRow, fillClient);
    const [first, last] = [Math.min(this.skip + 1, this.found), this.skip + this.shown.length];
    put($('rows-note'), this.found === 0 ? ($('find').value.trim() ? 'No client matches.' : 'There are no clients.')
      : `${number(first)} to ${number(last)} of ${number(this.found)} ${this.found === 1 ? 'client' : 'clients'}` + (isHeld ? ' · rows stay in place while you use the table' : ''));
    $('pages').hidden = this.found <= pageRows;
    $('previous').disabled = this.skip === 0;
    $('next').disabled = this.skip + pageRows >= this.found;
    $('clear-find').hidden = $('find').value === '';
    this.showOrder();
  },

  showOrder() {
    const opposite = { ascending: 'descending', descending: 'ascending' };
    for (const button of $('clients').querySelectorAll('th button')) {
      const column = button.dataset.sort;
      const first = firstOrders[column] ?? 'descending';
      const order = this.isReversed ? opposite[first] : first;
      if (column === $('sort').value) button.parentElement.setAttribute('aria-sort', order);
      else button.parentElement.removeAttribute('aria-sort');
    }
    $('reverse').setAttribute('aria-pressed', this.isReversed);
  },
};

function clientRow() {
  const row = tableRow();
  const id = cell(row, 'client', 'client');
  const parts = { id: make('span'), peer: make('span', 'sub'), user: cell(row, 'user', 'user'), topics: make('span', 'clamped'), depth: make('span'), bar: make('span', 'bar'), fill: make('i') };
  id.append(parts.id, parts.peer);
  cell(row, 'topics', 'topics wide-cell').append(parts.topics);
  parts.bar.append(parts.fill);
  cell(row, 'queue', 'queue').append(parts.depth, parts.bar);
  for (const [key, name] of [['blockedFor', 'blocked for'], ['rate', 'messages/s'], ['dropped', 'dropped'], ['roundTrip', 'round trip'], ['unacknowledged', 'not acknowledged']]) parts[key] = cell(row, name, 'n');
  [parts.reader, parts.writer] = [make('span', 'sub'), make('span', 'sub')];
  cell(row, 'threads', 'threads wide-cell').append(parts.reader, parts.writer);
  parts.disconnect = make('button', 'plain', 'Disconnect');
  parts.disconnect.onclick = () => askToDisconnect(row.client);
  cell(row, '', 'action wide-cell').append(parts.disconnect);
  row.parts = parts;
  return row;
}

/// Returns the address of a client, and its version of TLS.
const address = ({ peer, tls }) => tls === null ? peer : `${peer}, ${tls}`;

/// Returns the first topics of a client, and how many others it has.
function topicList({ topics }) {
  const more = topics.length > 5 ? ` and ${topics.length - 5} more` : '';
  return topics.slice(0, 5).join(', ') + more || '–';
}

function fillClient(row, client) {
  const { parts } = row;
  const full = fullness(client);
  // A queue that is limited by bytes is seldom filled to the last byte, so 95 % counts as full.
  const level = full >= .95 ? 'bar full' : full >= .5 ? 'bar warm' : 'bar';
  put(parts.id, client.experiment ? `${client.client} · ${client.experiment}` : String(client.client));
  put(parts.peer, address(client));
  put(parts.user, client.user ?? '–');
  put(parts.depth, `${client.messages} of ${client.capacity} · ${bytes(client.bytesQueued)}`);
  if (parts.bar.className !== level) parts.bar.className = level;
  const width = `${Math.round(full * 100)}%`;
  if (parts.fill.style.width !== width) parts.fill.style.width = width;
  put(parts.blockedFor, client.blockedFor ? time(client.blockedFor) : '–');
  put(parts.rate, number(client.rate));
  put(parts.dropped, number(client.dropped));
  parts.dropped.classList.toggle('hot', row.client !== undefined && client.dropped > row.client.dropped);
  put(parts.reader, `reader: ${client.reader}, ${time(client.readerSince)}`);
  put(parts.writer, `writer: ${client.writer}, ${time(client.writerSince)}`);
  put(parts.topics, topicList(client));
  put(parts.roundTrip, client.roundTrip === null ? '–' : time(Number(client.roundTrip.toPrecision(3))));
  put(parts.unacknowledged, client.unacknowledged === null ? '–' : bytes(client.unacknowledged));
  const isGone = client.isGone ?? false;
  put(parts.disconnect, isGone ? 'Disconnected' : 'Disconnect');
  // The button stays enabled, because a disabled one would lose the focus.
  parts.disconnect.setAttribute('aria-disabled', isGone);
  const name = client.user === null ? `client ${client.client}` : `client ${client.client}, user ${client.user}`;
  if (row.name !== name) parts.disconnect.setAttribute('aria-label', `Disconnect ${name}`);
  row.classList.toggle('gone', isGone);
  Object.assign(row, { client, name });
}

// The dialog that asks before a client is disconnected.

function askToDisconnect(client) {
  if (client.isGone) return;
  put($('disconnect-title'), `Disconnect client ${client.client}?`);
  put($('disconnect-who'), `${address(client)} · ${client.user === null ? 'no user' : `user ${client.user}`} · topics: ${topicList(client)}`);
  $('disconnect').client = client;
  $('disconnect-all-choice').hidden = client.user === null;
  $('disconnect-all').checked = false;
  put($('disconnect-user'), client.user ?? '');
  checkReason();
  $('disconnect').showModal();
}

function checkReason() {
  const length = new TextEncoder().encode($('disconnect-reason').value).length;
  $('disconnect-reason').setCustomValidity(length > 123 ? `A reason may have at most 123 bytes. This one has ${length}.` : '');
}

$('disconnect-reason').oninput = checkReason;
$('disconnect-cancel').onclick = () => $('disconnect').close();
// A click beside the dialog.
$('disconnect').onclick = ({ target }) => { if (target === $('disconnect')) $('disconnect').close(); };
$('disconnect-form').onsubmit = (event) => {
  event.preventDefault();
  const { client, user } = $('disconnect').client;
  const whom = $('disconnect-all').checked ? { do: 'disconnect-user', user } : { do: 'disconnect', client };
  // An empty field means the default.
  sendCommand({ ...whom, code: Number($('disconnect-code').value) || null, reason: $('disconnect-reason').value || null }, 'clients-status');
  $('disconnect').close();
};

// Searching, sorting, and the keyboard.

$('find').oninput = () => clientTable.search();
$('clear-find').onclick = () => {
  $('find').value = '';
  $('find').focus();
  clientTable.search();
};
$('find').onkeydown = (event) => {
  if (event.key === 'Escape' && $('find').value) $('clear-find').click();
};
$('sort').onchange = () => clientTable.sortBy($('sort').value, false);
$('reverse').onclick = () => clientTable.sortBy($('sort').value, !clientTable.isReversed);
$('previous').onclick = () => clientTable.turnPage(-pageRows);
$('next').onclick = () => clientTable.turnPage(pageRows);
for (const button of $('clients').querySelectorAll('th button')) {
  const { sort } = button.dataset;
  button.onclick = () => clientTable.sortBy(sort, $('sort').value === sort && !clientTable.isReversed);
}
clientTable.body.onkeydown = (event) => {
  const step = { ArrowDown: 'nextElementSibling', ArrowUp: 'previousElementSibling' }[event.key];
  const row = step && event.target.closest('tr')[step];
  if (!row) return;
  event.preventDefault();
  row.parts.disconnect.focus();
};
addEventListener('keydown', (event) => {
  const isTyping = event.target.matches?.('input, select, textarea') || $('disconnect').open;
  if (event.key !== '/' || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  $('find').focus();
});
