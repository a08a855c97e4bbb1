'use strict';
const $ = (id) => document.getElementById(id);
const area = $('text'), MAX_LENGTH = 20000;
const EDIT_INTERVAL = 50, CURSOR_INTERVAL = 100; // milliseconds; edits within one interval are sent as one
const client = new Client(), undo = new Undo();
const people = new Map(); // author → {name, from, to, color}, a selection in the displayed text
const ahead = new Map(); // author → a cursor message for a revision that has not arrived yet
const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
let link = null, me = '', which = '';
let isReady = false, wantsWholeText = false; // the hello has arrived; the next connection must fetch the whole text
let unsent = 0, unacknowledged = 0; // numbers of edits as the user counts them: not sent, and sent without an answer
let lastAside; // the last text that was set aside, so that each is announced only once
let sentCursor = '', lastEdit = 0, lastCursor = 0, timer = 0, drawing = false;
let composing = null; // while an input method composes: {shown, held}, the text at its start and the remote edits since

const send = (message) => link.send(JSON.stringify(message));

// ---- messages from the server

const on = {
  open() { isReady = false; },
  message(data) {
    const message = JSON.parse(data);
    try {
      if (message.hello) hello(message);
      else if (message.op) edited(message);
      else if (message.who) person(message);
      else if (message.refused) refused(message);
      else if (message.gap) throw new OutOfSync();
      else if (message.error) $('error').textContent = message.error;
    } catch (error) {
      if (!(error instanceof OutOfSync)) throw error;
      // Edits are missing. Reconnect to fetch the whole text, into which the local edits are merged.
      wantsWholeText = true;
      link.socket.close(4100, 'fetching the whole text');
    }
    if (client.aside.at(-1) !== lastAside && client.aside.length) news('Your version was set aside. It is above the text.');
    lastAside = client.aside.at(-1);
    sendSoon();
    draw();
  },
  ended(code, reason) {
    disconnected();
    if (code === 4008) news('This window was too slow and was disconnected. It reconnects and receives the missed edits.');
    else if (code === 1013) $('error').textContent = reason;
    return true;
  },
};

function hello(message) {
  const isFirst = client.life === 0;
  applyToArea(client.hello(message));
  isReady = true;
  wantsWholeText = false;
  if (!client.sent) unacknowledged = 0;
  if (!client.typed) unsent = 0;
  people.clear();
  ahead.clear();
  for (const cursor of message.people) setCursor(cursor);
  sentCursor = '';
  $('error').textContent = '';
  news(isFirst ? 'You joined.' : message.text === undefined ? 'You are back, with all missed edits.' : 'You are back, with the whole text.');
  if (isFirst) { area.disabled = false; area.focus(); }
  const pending = client.pending();
  if (pending) send({ do: 'edit', ...pending });
}

function edited(edit) {
  const isOwn = edit.by === client.you && edit.n === client.sent?.n;
  const change = client.receive(edit);
  applyToArea(change);
  if (isOwn) {
    unacknowledged = 0;
    // The server and the other clients place our caret behind our edit.
    sentCursor = `${caretOf(edit.op)} ${caretOf(edit.op)}`;
  } else if (people.has(edit.by) && changes(change)) {
    const author = people.get(edit.by);
    author.from = author.to = caretOf(change);
  }
  for (const [who, cursor] of ahead) if (cursor.rev <= client.revision) { ahead.delete(who); setCursor(cursor); }
}

function person(cursor) {
  if (cursor.who === client.you) return;
  if (!cursor.gone && !people.has(cursor.who) && !ahead.has(cursor.who)) news(`${cursor.name} joined.`);
  if (cursor.gone) {
    const person = people.get(cursor.who) ?? ahead.get(cursor.who);
    if (person) news(`${person.name} left.`);
    people.delete(cursor.who);
    ahead.delete(cursor.who);
  } else setCursor(cursor);
}

/// Stores a person's cursor. A cursor may overtake the edits it refers to. Then it waits in `ahead` until they arrive.
function setCursor(cursor) {
  if (cursor.rev > client.revision) return ahead.set(cursor.who, cursor);
  const { name, who } = cursor;
  const taken = new Set([client.you % 8, ...[...people].filter(([other]) => other !== who).map(([, { color }]) => color)]);
  let color = people.get(who)?.color ?? who % 8;
  for (let i = 0; i < 8 && taken.has(color); i++) color = (color + 1) % 8;
  people.set(who, { name, color, from: client.shown(cursor.from), to: client.shown(cursor.to) });
}

function refused(message) {
  if (message.anew) throw new OutOfSync();
  applyToArea(client.refused());
  unsent = unacknowledged = 0;
  $('error').textContent = `Edit refused: ${message.why}.`;
}

function disconnected() {
  isReady = false;
  people.clear();
  ahead.clear();
  draw();
}

// ---- local edits

/// Replaces characters that the server does not accept: control characters and unpaired surrogates.
const clean = (text) => text.toWellFormed().replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd');

function typed(shown = client.text, held = null) {
  const value = clean(area.value);
  let { selectionStart: start, selectionEnd: end, selectionDirection: direction } = area;
  let op = between(shown, value, start);
  if (held) {
    let rest;
    [rest, op] = transform(held, op);
    [start, end] = [moved(rest, start), moved(rest, end)];
  }
  if (changes(op)) {
    undo.record(client.text, op);
    editLocally(op);
  }
  if (area.value !== client.text) {
    area.value = client.text;
    area.setSelectionRange(start, end, direction);
  }
  draw();
}

/// Applies a local edit of the displayed text.
function editLocally(op) {
  client.edit(op);
  unsent++;
  for (const person of people.values()) [person.from, person.to] = [moved(op, person.from), moved(op, person.to)];
  sendSoon();
}

/// Shows a remote edit in the text area. Caret and selection keep their positions in the text.
function applyToArea(op) {
  if (!op) return;
  undo.transformOver(op);
  for (const person of people.values()) [person.from, person.to] = [moved(op, person.from), moved(op, person.to)];
  // Changing the text area would abort an input method. Remote edits are held back, as one edit, until it has finished.
  if (composing) composing.held = composing.held ? then(composing.held, op) : op;
  else set(moved(op, area.selectionStart), moved(op, area.selectionEnd));
}

function set(start, end = start) {
  const { selectionDirection: direction, scrollTop } = area;
  if (area.value !== client.text) area.value = client.text;
  area.setSelectionRange(start, end, direction);
  area.scrollTop = scrollTop;
}

/// Undoes or redoes an own edit. `action` is 'undo' or 'redo'.
function undoOrRedo(action) {
  if (composing || area.disabled) return;
  const op = undo[action](client.text);
  if (!op) return;
  editLocally(op);
  set(caretOf(op));
  draw();
}

area.addEventListener('input', () => composing || typed());
area.addEventListener('compositionstart', () => { composing = { shown: client.text, held: null }; });
area.addEventListener('compositionend', () => {
  const { shown, held } = composing;
  composing = null;
  typed(shown, held);
});
area.addEventListener('beforeinput', (event) => {
  const action = { historyUndo: 'undo', historyRedo: 'redo' }[event.inputType];
  if (action) { event.preventDefault(); undoOrRedo(action); }
});
area.addEventListener('keydown', (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
  const pressed = event.key.toLowerCase();
  if (pressed !== 'z' && pressed !== 'y') return;
  event.preventDefault();
  undoOrRedo(pressed === 'y' || event.shiftKey ? 'redo' : 'undo');
});
document.addEventListener('selectionchange', () => { sendSoon(); draw(); });
area.addEventListener('scroll', () => { $('mirror').scrollTop = area.scrollTop; });

// ---- messages to the server

/// Sends edits and cursors, now or when their intervals have passed.
function sendSoon() {
  clearTimeout(timer);
  if (!isReady || !link.isOpen) return;
  const now = performance.now();
  if (client.typed && !client.sent) {
    const wait = lastEdit + EDIT_INTERVAL - now;
    if (wait > 0) return void (timer = setTimeout(sendSoon, wait));
    lastEdit = now;
    unacknowledged = unsent;
    unsent = 0;
    send({ do: 'edit', ...client.next() });
  }
  // While an edit is pending, positions in our text mean nothing to others. The edit itself determines our caret.
  if (client.sent || client.typed || composing) return;
  const ends = [area.selectionStart, area.selectionEnd];
  const [from, to] = area.selectionDirection === 'backward' ? ends.reverse() : ends;
  if (`${from} ${to}` === sentCursor) return;
  const wait = lastCursor + CURSOR_INTERVAL - now;
  if (wait > 0) return void (timer = setTimeout(sendSoon, wait));
  lastCursor = now;
  sentCursor = `${from} ${to}`;
  send({ do: 'cursor', rev: client.revision, from, to });
}

// ---- display

function draw() {
  const unsaved = unsent + unacknowledged, edits = unsaved === 1 ? 'edit' : 'edits';
  $('saved').textContent = unsaved ? `${unsaved} unsaved ${edits}` : client.life ? 'Saved' : '';
  $('saved').toggleAttribute('data-unsaved', unsaved > 0);
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawMirror();
    drawPeople();
    $('count').textContent = `${client.text.length.toLocaleString('en')} of ${MAX_LENGTH.toLocaleString('en')}`;
    $('aside').hidden = client.aside.length === 0;
    if (client.aside.length) $('kept').value = client.aside.at(-1);
  });
}

function drawMirror() {
  const all = [...people.values()], { text } = client;
  const cuts = [...new Set([0, text.length, ...all.flatMap(({ from, to }) => [from, to])])].sort((a, b) => a - b);
  const pieces = [];
  cuts.forEach((at, i) => {
    for (const { name, color, to } of all) {
      if (to !== at) continue;
      const caret = document.createElement('i');
      caret.className = 'caret';
      caret.dataset.name = name;
      caret.style.setProperty('--c', `var(--c${color})`);
      pieces.push(caret);
    }
    const next = cuts[i + 1];
    if (next === undefined) return;
    const piece = document.createElement('span');
    piece.textContent = text.slice(at, next);
    const over = all.find(({ from, to }) => Math.min(from, to) <= at && next <= Math.max(from, to));
    if (over) {
      piece.className = 'selected';
      piece.style.setProperty('--c', `var(--c${over.color})`);
    }
    pieces.push(piece);
  });
  // A text area shows an empty line after a final line end. The zero-width space does the same here.
  $('mirror').replaceChildren(...pieces, '\u200b');
  $('mirror').scrollTop = area.scrollTop;
  // A name that would extend beyond the right edge is shown on the left of its caret.
  const middle = $('mirror').clientWidth - 120;
  for (const caret of $('mirror').querySelectorAll('.caret')) caret.classList.toggle('left', caret.offsetLeft > middle);
}

function where(text, at) {
  const line = text.slice(0, at).split('\n');
  return `line ${line.length}, column ${line.at(-1).length + 1}`;
}

function drawPeople() {
  const { text } = client;
  const rows = [{ name: `${me} (you)`, color: client.you % 8, to: area.selectionEnd }, ...people.values()];
  $('people').replaceChildren(...rows.map(({ name, color, to }) => {
    const row = document.createElement('li'), label = document.createElement('span'), position = document.createElement('span');
    row.style.setProperty('--c', `var(--c${color})`);
    label.textContent = name;
    position.className = 'where';
    position.textContent = where(text, to);
    row.append(label, position);
    return row;
  }));
}

function news(text) {
  const item = document.createElement('li');
  item.textContent = text;
  $('news').append(item);
  while ($('news').children.length > 6) $('news').firstChild.remove();
}

// ---- connecting and disconnecting

$('offline').onclick = () => {
  const isOffline = $('offline').getAttribute('aria-pressed') !== 'true';
  $('offline').setAttribute('aria-pressed', isOffline);
  $('offline').textContent = isOffline ? 'Go online' : 'Go offline';
  area.classList.toggle('offline', isOffline);
  if (isOffline) {
    link.close();
    disconnected();
    news('You are offline. Your edits are sent when you go online again.');
  } else link.connect();
};
$('put').onclick = () => {
  const op = between(client.text, client.aside.pop());
  lastAside = client.aside.at(-1);
  undo.record(client.text, op);
  editLocally(op);
  set(caretOf(op));
  area.focus();
  draw();
};
$('dismiss').onclick = () => {
  client.aside.pop();
  lastAside = client.aside.at(-1);
  area.focus();
  draw();
};
$('enter').onsubmit = (event) => {
  event.preventDefault();
  me = $('name').value.trim();
  which = $('which').value;
  if (!me) return;
  sessionStorage.setItem('name', me);
  history.replaceState(null, '', `#${which}`);
  $('enter').hidden = true;
  document.querySelector('main').hidden = false;
  $('me').textContent = me;
  $('title').textContent = which;
  document.title = `${which} – Shared text`;
  link = new Link(() => {
    const resume = wantsWholeText || !client.life ? '' : `&life=${client.life}&since=${client.revision}`;
    return `/ws/${which}?name=${encodeURIComponent(me)}&key=${key}${resume}`;
  }, on);
  draw();
};
addEventListener('hashchange', () => location.reload());
// Unsaved edits exist only in this page, so the browser asks before it closes the page.
addEventListener('beforeunload', (event) => { if (unsent + unacknowledged || client.aside.length) event.preventDefault(); });
$('name').value = sessionStorage.getItem('name') ?? '';
$('which').value = /^[a-z0-9-]{1,32}$/.test(location.hash.slice(1)) ? location.hash.slice(1) : 'notes';
