'use strict';
const $ = (id) => document.getElementById(id);
const area = $('text'), MOST = 20000;
const EDIT_EACH = 50, POINT_EACH = 100; // milliseconds: what is typed meanwhile goes as one
const client = new Client(), undo = new Undo();
const people = new Map(); // who → {name, from, to, color}: a selection in what is shown
const ahead = new Map(); // who → what was told of it at a revision that is not here yet
const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
let link = null, me = '', which = '';
let greeted = false, anew = false; // the server has said hello; it is to send the text
let unsent = 0, unheard = 0; // edits as a person counts them: not sent, and sent without an answer
let asideTold; // the last that was set aside
let pointed = '', lastEdit = 0, lastPoint = 0, timer = 0, drawing = false;
let composing = null; // while an input method composes: {shown, held}, the text then and what others did since

const tell = (what) => link.send(JSON.stringify(what));

// ---- what the server says

const on = {
  open() { greeted = false; },
  message(data) {
    const told = JSON.parse(data);
    try {
      if (told.hello) hello(told);
      else if (told.op) edited(told);
      else if (told.who) person(told);
      else if (told.refused) refused(told);
      else if (told.gap) throw new Lost();
      else if (told.error) $('error').textContent = told.error;
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
      // What is between is gone: the text as it is now, with ours brought into it.
      anew = true;
      link.socket.close(4000, 'the text anew');
    }
    if (client.aside.at(-1) !== asideTold && client.aside.length) news('Your version was set aside: see above the text.');
    asideTold = client.aside.at(-1);
    sendSoon();
    draw();
  },
  ended(code, reason) {
    left();
    if (code === 4008) news('This window was too slow and was cut. It comes back for what it missed.');
    else if (code === 1013) $('error').textContent = reason;
    return true;
  },
};

function hello(told) {
  const first = client.life === 0;
  show(client.hello(told));
  greeted = true;
  anew = false;
  if (!client.sent) unheard = 0;
  if (!client.typed) unsent = 0;
  people.clear();
  ahead.clear();
  for (const one of told.people) place(one);
  pointed = '';
  $('error').textContent = '';
  news(first ? 'You came.' : told.text === undefined ? 'You are back, and have what you missed.' : 'You are back. The text was taken anew.');
  if (first) { area.disabled = false; area.focus(); }
  const again = client.again();
  if (again) tell({ do: 'edit', ...again });
}

function edited(told) {
  const own = told.by === client.you && told.n === client.sent?.n;
  const change = client.told(told);
  show(change);
  if (own) {
    unheard = 0;
    // Where the others have our caret now.
    pointed = `${caretOf(told.op)} ${caretOf(told.op)}`;
  } else if (people.has(told.by) && change.some((part) => !(part > 0))) {
    const one = people.get(told.by);
    one.from = one.to = caretOf(change);
  }
  for (const [who, one] of ahead) if (one.rev <= client.revision) { ahead.delete(who); place(one); }
}

function person(told) {
  if (told.who === client.you) return;
  if (!told.gone && !people.has(told.who) && !ahead.has(told.who)) news(`${told.name} came.`);
  if (told.gone) {
    const one = people.get(told.who) ?? ahead.get(told.who);
    if (one) news(`${one.name} left.`);
    people.delete(told.who);
    ahead.delete(told.who);
  } else place(told);
}

/// A newer place may overtake the edits it is among: then it waits for them.
function place(one) {
  if (one.rev > client.revision) return ahead.set(one.who, one);
  const { name, who } = one;
  const taken = new Set([client.you % 8, ...[...people].filter(([other]) => other !== who).map(([, { color }]) => color)]);
  let color = people.get(who)?.color ?? who % 8;
  for (let i = 0; i < 8 && taken.has(color); i++) color = (color + 1) % 8;
  people.set(who, { name, color, from: client.shown(one.from), to: client.shown(one.to) });
}

function refused(told) {
  if (told.anew) throw new Lost();
  show(client.refused());
  unsent = unheard = 0;
  $('error').textContent = `Not taken: ${told.why}.`;
}

function left() {
  greeted = false;
  people.clear();
  ahead.clear();
  draw();
}

// ---- what is typed

/// A text area has one line end, and the server takes no control characters and no half of a pair.
const clean = (text) => text.toWellFormed().replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd');

function typed(shown = client.text, held = null) {
  const value = clean(area.value);
  let { selectionStart: start, selectionEnd: end, selectionDirection: way } = area;
  let op = between(shown, value, start);
  if (held) {
    let rest;
    [rest, op] = transform(held, op);
    [start, end] = [moved(rest, start), moved(rest, end)];
  }
  if (op.some((part) => !(part > 0))) {
    undo.made(client.text, op);
    mine(op);
  }
  if (area.value !== client.text) {
    area.value = client.text;
    area.setSelectionRange(start, end, way);
  }
  draw();
}

/// An edit of one's own, of what is shown.
function mine(op) {
  client.edit(op);
  unsent++;
  for (const one of people.values()) [one.from, one.to] = [moved(op, one.from), moved(op, one.to)];
  sendSoon();
}

/// An edit of the others, for what is shown: caret and selection stay where they are in the text.
function show(op) {
  if (!op) return;
  undo.others(op);
  for (const one of people.values()) [one.from, one.to] = [moved(op, one.from), moved(op, one.to)];
  // An input method loses what it composes if the text is touched: it is held until then, as one edit.
  if (composing) composing.held = composing.held ? then(composing.held, op) : op;
  else set(moved(op, area.selectionStart), moved(op, area.selectionEnd));
}

function set(start, end = start) {
  const { selectionDirection: way, scrollTop } = area;
  if (area.value !== client.text) area.value = client.text;
  area.setSelectionRange(start, end, way);
  area.scrollTop = scrollTop;
}

function takeBack(what) {
  if (composing || area.disabled) return;
  const op = undo[what](client.text);
  if (!op) return;
  mine(op);
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
  const what = { historyUndo: 'undo', historyRedo: 'redo' }[event.inputType];
  if (what) { event.preventDefault(); takeBack(what); }
});
area.addEventListener('keydown', (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
  const pressed = event.key.toLowerCase();
  if (pressed !== 'z' && pressed !== 'y') return;
  event.preventDefault();
  takeBack(pressed === 'y' || event.shiftKey ? 'redo' : 'undo');
});
document.addEventListener('selectionchange', () => { sendSoon(); draw(); });
area.addEventListener('scroll', () => { $('mirror').scrollTop = area.scrollTop; });

// ---- what goes to the server

function sendSoon() {
  clearTimeout(timer);
  if (!greeted || !link.isOpen) return;
  const now = performance.now();
  if (client.typed && !client.sent) {
    const wait = lastEdit + EDIT_EACH - now;
    if (wait > 0) return void (timer = setTimeout(sendSoon, wait));
    lastEdit = now;
    unheard = unsent;
    unsent = 0;
    tell({ do: 'edit', ...client.next() });
  }
  // While something is on its way a place of ours is in nobody's text; the edit itself says where our caret is.
  if (client.sent || client.typed || composing) return;
  const ends = [area.selectionStart, area.selectionEnd];
  const [from, to] = area.selectionDirection === 'backward' ? ends.reverse() : ends;
  if (`${from} ${to}` === pointed) return;
  const wait = lastPoint + POINT_EACH - now;
  if (wait > 0) return void (timer = setTimeout(sendSoon, wait));
  lastPoint = now;
  pointed = `${from} ${to}`;
  tell({ do: 'cursor', rev: client.revision, from, to });
}

// ---- what is shown beside the text

function draw() {
  const unsaved = unsent + unheard, edits = unsaved === 1 ? 'edit' : 'edits';
  $('saved').textContent = unsaved ? `${unsaved} unsaved ${edits}` : client.life ? 'Saved' : '';
  $('saved').toggleAttribute('data-unsaved', unsaved > 0);
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawMirror();
    drawPeople();
    $('count').textContent = `${client.text.length.toLocaleString('en')} of ${MOST.toLocaleString('en')}`;
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
  // A line end at the very end has a line of its own in a text area.
  $('mirror').replaceChildren(...pieces, '\u200b');
  $('mirror').scrollTop = area.scrollTop;
  // A name that would leave the paper stands on the other side of its caret.
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
    const row = document.createElement('li'), who = document.createElement('span'), place = document.createElement('span');
    row.style.setProperty('--c', `var(--c${color})`);
    who.textContent = name;
    place.className = 'where';
    place.textContent = where(text, to);
    row.append(who, place);
    return row;
  }));
}

function news(text) {
  const item = document.createElement('li');
  item.textContent = text;
  $('news').append(item);
  while ($('news').children.length > 6) $('news').firstChild.remove();
}

// ---- coming and going

$('offline').onclick = () => {
  const away = $('offline').getAttribute('aria-pressed') !== 'true';
  $('offline').setAttribute('aria-pressed', away);
  $('offline').textContent = away ? 'Come back' : 'Go offline';
  area.classList.toggle('offline', away);
  if (away) {
    link.close();
    left();
    news('You are offline. Go on typing: it is sent when you come back.');
  } else link.connect();
};
$('put').onclick = () => {
  const op = between(client.text, client.aside.pop());
  asideTold = client.aside.at(-1);
  undo.made(client.text, op);
  mine(op);
  set(caretOf(op));
  area.focus();
  draw();
};
$('dismiss').onclick = () => {
  client.aside.pop();
  asideTold = client.aside.at(-1);
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
    const known = anew || !client.life ? '' : `&life=${client.life}&since=${client.revision}`;
    return `/ws/${which}?name=${encodeURIComponent(me)}&key=${key}${known}`;
  }, on);
  draw();
};
addEventListener('hashchange', () => location.reload());
// What is not saved lives in this page alone.
addEventListener('beforeunload', (event) => { if (unsent + unheard || client.aside.length) event.preventDefault(); });
$('name').value = sessionStorage.getItem('name') ?? '';
$('which').value = /^[a-z0-9-]{1,32}$/.test(location.hash.slice(1)) ? location.hash.slice(1) : 'notes';
