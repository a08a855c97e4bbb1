// The inbox of one user. It shows the state of the server: when the connection (re)opens, `hello` contains everything
// unread, and each later event contains a change. An ack that could not be sent is sent after the next `hello`.
const $ = (id) => document.getElementById(id);

// The same rule as on the server: letters and digits of any script, and - _ . @
const NAME = /^[\p{Alphabetic}\p{N}_.@-]{1,32}$/u;
// The page shows up to this many. The server keeps at most 50, so no unread notification is removed.
const SHOWN = 200;
// Most ids in one ack.
const IDS_PER_ACK = 50;

let user = '';
let link = null;
let unread = 0;
let missed = 0;
const items = new Map();

const isOpenItem = (item) => item.state === 'unread' || item.state === 'marking';

// ── events from the server ──

const on = {
  hello(event) {
    const waiting = new Set(event.unread.map((one) => one.id));
    const read = new Set(event.read);
    for (const [id, item] of items) {
      // It was read or removed while this tab was disconnected.
      if (isOpenItem(item) && !waiting.has(id)) change(id, read.has(id) ? 'read' : 'gone', 'no longer kept');
    }
    event.unread.forEach(show);
    badge(event.unread.length);
    showMissed(event.missed);
    acknowledge([...items.keys()].filter((id) => items.get(id).state === 'marking'));
  },
  new: show,
  read: (event) => event.ids.forEach((id) => change(id, 'read')),
  gone(event) {
    const why = { expired: 'expired', dropped: 'dropped: mailbox was full', unknown: 'no longer kept' }[event.why] ?? event.why;
    event.ids.forEach((id) => change(id, 'gone', why));
  },
  badge: (event) => badge(event.unread),
  missed: (event) => showMissed(event.missed),
  error: (event) => console.warn('the server rejected a command:', event.why),
};

/// Shows an unread notification. The server sends it again until it is read, so a known id only updates its row.
function show(one) {
  const known = items.get(one.id);
  if (known) {
    known.tries = one.tries;
    return paint(known);
  }
  const item = { ...one, state: 'unread', why: '', row: document.createElement('li') };
  items.set(one.id, item);
  if (one.urgent) item.row.dataset.urgent = '';
  paint(item);
  const later = [...items.values()].filter((other) => other !== item && isBefore(item, other));
  const next = [...$('list').children].find((row) => later.some((other) => other.row === row));
  $('list').insertBefore(item.row, next ?? null);
  if (one.urgent) $('urgent').textContent = `Urgent: ${one.text}`;
  forget();
}

/// Unread urgent notifications come first, then the newest.
function isBefore(a, b) {
  const rank = (item) => (item.urgent && isOpenItem(item) ? 1 : 0);
  return rank(a) !== rank(b) ? rank(a) > rank(b) : a.id > b.id;
}

function change(id, state, why = '') {
  const item = items.get(id);
  if (!item || !isOpenItem(item)) return;
  Object.assign(item, { state, why });
  paint(item);
}

function paint(item) {
  const element = (name, className, text) => Object.assign(document.createElement(name), { className, textContent: text });
  const what = element('div', 'what', '');
  const meta = element('p', 'meta', '');
  if (item.urgent) meta.append(element('span', 'flag', 'urgent'), ' · ');
  const time = element('time', '', new Date(item.at).toLocaleTimeString());
  time.dateTime = new Date(item.at).toISOString();
  meta.append(time, item.tries > 1 ? ` · sent ${item.tries} times` : '');
  what.append(element('p', 'text', item.text), meta);
  let end;
  if (item.state === 'unread') {
    end = element('button', 'slim', 'Mark as read');
    end.ariaLabel = `Mark as read: ${item.text}`;
    end.onclick = () => mark([item.id]);
  } else {
    const words = { marking: link?.isOpen ? 'marking …' : 'marked when connected', read: '✓ read', gone: item.why };
    end = element('span', 'done', words[item.state]);
  }
  const hadFocus = item.row.contains(document.activeElement);
  item.row.dataset.state = item.state;
  item.row.replaceChildren(what, end);
  if (hadFocus) (item.row.querySelector('button') ?? $('list').querySelector('button') ?? $('inbox-title')).focus();
  $('empty').hidden = items.size > 0;
  $('all').disabled = ![...items.values()].some((one) => one.state === 'unread');
}

function forget() {
  for (const [id, item] of items) {
    if (items.size <= SHOWN) return;
    if (!isOpenItem(item)) {
      item.row.remove();
      items.delete(id);
    }
  }
}

function badge(count) {
  unread = count;
  $('badge').hidden = count === 0;
  $('badge').textContent = count;
  $('badge').ariaLabel = `${count} unread`;
  document.title = `${count ? `(${count}) ` : ''}${user} – Notifications`;
}

function showMissed(count) {
  missed = count;
  $('missed').hidden = count === 0;
  $('missed-text').textContent = `${count} ${count === 1 ? 'was' : 'were'} never read: expired, or dropped because the mailbox was full.`;
}

// ── actions of the user ──

function mark(ids) {
  for (const id of ids) change(id, 'marking');
  acknowledge(ids);
}

function acknowledge(ids) {
  for (let at = 0; at < ids.length; at += IDS_PER_ACK) link.send(JSON.stringify({ ack: ids.slice(at, at + IDS_PER_ACK) }));
}

$('all').onclick = () => mark([...items.keys()].filter((id) => items.get(id).state === 'unread'));
$('dismiss').onclick = () => {
  link.send(JSON.stringify({ dismiss: missed }));
  $('inbox-title').focus();
};

$('who').onsubmit = (event) => {
  event.preventDefault();
  location.hash = encodeURIComponent($('name').value.trim());
};

function nameInHash() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return location.hash.slice(1);
  }
}

/// The user is named in the hash of the URL. So a bookmark can name a user, and each tab can have a different one.
function enter() {
  const name = nameInHash() || 'ann';
  $('name').value = name;
  if (!NAME.test(name)) {
    $('who-error').textContent = 'A name has 1 to 32 letters, digits and the characters - _ . @';
    return;
  }
  $('who-error').textContent = '';
  if (name === user) return;
  user = name;
  items.clear();
  $('list').replaceChildren();
  $('inbox-title').textContent = `Inbox of ${name}`;
  $('empty').hidden = false;
  $('all').disabled = true;
  $('to').value = name;
  badge(0);
  showMissed(0);
  preview();
  link?.close();
  link = new Link(() => `/ws?user=${encodeURIComponent(name)}`, {
    message(data) {
      // Ignores an event for the user that this tab showed before.
      if (name !== user) return;
      const event = JSON.parse(data);
      on[event.type]?.(event);
    },
  });
}

window.onhashchange = enter;

// ── publishing, as a backend does ──

function notice() {
  const body = { user: $('to').value.trim(), text: $('text').value };
  if ($('key').value) body.id = $('key').value;
  if ($('pressing').checked) body.urgent = true;
  if ($('ttl').value) body.ttl = Number($('ttl').value);
  return JSON.stringify(body);
}

function preview() {
  $('curl').textContent = `curl -d '${notice().replaceAll("'", "'\\''")}' ${location.origin}/publish`;
}

$('publish').oninput = preview;
$('publish').onsubmit = async (event) => {
  event.preventDefault();
  const showAnswer = (kind, text) => {
    $('answer').dataset.kind = kind;
    $('answer').textContent = text;
  };
  try {
    const answer = await fetch('/publish', { method: 'POST', body: notice() });
    const receipt = await answer.json();
    if (!answer.ok) return showAnswer('bad', `${answer.status}: ${receipt.error}`);
    showAnswer('good', `${answer.status}: kept as ${receipt.id}, queued for ${receipt.tabs} ${receipt.tabs === 1 ? 'tab' : 'tabs'}`);
  } catch {
    showAnswer('bad', 'No answer: is the server running? With a dedupe id it is safe to try again.');
  }
};

enter();
