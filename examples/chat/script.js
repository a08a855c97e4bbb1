'use strict';
const $ = (id) => document.getElementById(id);
const rooms = new Map(); // name → {last, lines, here, unread, joined}
const waiting = new Map(); // ref → {room, say, line}: said, and not acknowledged
const random = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join('-');
const key = random(); // whose refs these are: names are not unique
let link = null, me = '', current = '';

const room = (name) => {
  if (!rooms.has(name)) rooms.set(name, { last: 0, lines: [], here: new Set(), unread: false, wanted: false });
  return rooms.get(name);
};

const tell = (command) => link.send(JSON.stringify(command));
const join = (name) => tell({ do: 'join', room: name, since: rooms.get(name).last || null });
const say = (ref, { room, say }) => tell({ do: 'say', room, say, ref });

function line(name, kind, text, from) {
  const item = document.createElement('li');
  item.className = kind;
  if (from !== undefined) {
    const who = document.createElement('b');
    who.textContent = from;
    item.append(who);
  }
  item.append(text);
  const lines = room(name).lines;
  lines.push(item);
  // A page that stays open for days must not grow for ever either.
  if (lines.length > 500) lines.shift().remove();
  if (name === current) {
    const log = $('log'), atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 40;
    log.append(item);
    if (atEnd || kind.includes('mine')) log.scrollTop = log.scrollHeight;
  } else if (from !== undefined) {
    room(name).unread = true;
    showRooms();
  }
  return item;
}

const on = {
  open() {
    for (const [name, { wanted }] of rooms) if (wanted) join(name);
    tell({ do: 'rooms' });
  },
  message(data) {
    const told = JSON.parse(data), at = told.room;
    if (told.say !== undefined) {
      const here = room(at);
      if (told.id <= here.last) return;
      here.last = told.id;
      const own = waiting.get(told.ref);
      if (own && told.from === me) arrived(told.ref);
      else line(at, told.from === me ? 'mine' : '', told.say, told.from);
    } else if (told.gap) {
      line(at, 'gap', 'Something is missing here: the room no longer remembers it.');
      room(at).last = Math.max(room(at).last, told.gap[1]);
    } else if (told.came || told.went) {
      room(at).here[told.came ? 'add' : 'delete'](told.came ?? told.went);
      line(at, 'note', told.came ? `${told.came} came` : `${told.went} went`);
      showHere();
    } else if (told.joined) {
      const here = room(told.joined);
      here.here = new Set(told.here);
      here.last = Math.max(here.last, told.last);
      showHere();
      // Sent again after a lost connection; what had arrived is acknowledged with the id it has.
      for (const [ref, word] of waiting) if (word.room === told.joined) say(ref, word);
    } else if (told.ack) arrived(told.ack);
    else if (told.rooms) { for (const { name } of told.rooms) room(name); showRooms(); }
    else if (told.error) {
      $('error').textContent = told.error;
      const refused = waiting.get(told.ref)?.line;
      if (refused) refused.className = 'mine refused';
      waiting.delete(told.ref);
    }
  },
  ended(code, reason) {
    if (code === 4003) return false; // kicked: coming back by itself would be rude
    if (code === 4008) for (const name of rooms.keys()) line(name, 'note', 'This window was too slow and was cut; it comes back for what it missed.');
    return true;
  },
};

function arrived(ref) {
  waiting.get(ref)?.line.classList.remove('waits');
  waiting.delete(ref);
}

function showRooms() {
  $('rooms').replaceChildren(...[...rooms].map(([name, { unread }]) => {
    const button = document.createElement('button');
    button.textContent = name;
    button.className = unread ? 'unread' : '';
    button.setAttribute('aria-current', name === current);
    button.onclick = () => enter(name);
    const item = document.createElement('li');
    item.append(button);
    return item;
  }));
}

function showHere() {
  $('here').replaceChildren(...[...room(current).here].sort().map((name) => {
    const item = document.createElement('li');
    item.textContent = name === me ? `${name} (you)` : name;
    return item;
  }));
}

function want(name) {
  if (room(name).wanted) return;
  room(name).wanted = true;
  if (link?.isOpen) join(name);
}

function enter(name) {
  current = name;
  want(name);
  $('leave').hidden = name === 'lobby';
  room(name).unread = false;
  $('title').textContent = name;
  $('log').replaceChildren(...room(name).lines);
  $('log').scrollTop = $('log').scrollHeight;
  showRooms();
  showHere();
  $('say').focus();
}

$('enter').onsubmit = (event) => {
  event.preventDefault();
  me = $('name').value.trim();
  if (!me) return;
  $('enter').hidden = true;
  document.querySelector('main').hidden = false;
  $('me').textContent = me;
  for (const name of ['lobby', 'kitchen']) want(name);
  enter('lobby');
  link = new Link(() => `/ws?name=${encodeURIComponent(me)}&key=${key}`, on);
};
$('join').onsubmit = (event) => {
  event.preventDefault();
  const name = $('room').value.trim();
  if (!name) return;
  $('room').value = '';
  enter(name);
};
$('leave').onclick = () => {
  room(current).wanted = false;
  room(current).here.clear();
  tell({ do: 'leave', room: current });
  enter('lobby');
};
$('speak').onsubmit = (event) => {
  event.preventDefault();
  const text = $('say').value.trim();
  if (!text) return;
  // What waits for a server that is away has a bound too.
  if (waiting.size >= 100) { $('error').textContent = 'A hundred words wait already.'; return; }
  $('say').value = '';
  $('error').textContent = '';
  // Shown at once, grey until the room has it. The ref makes it the same word however often it is sent.
  const ref = random();
  const word = { room: current, say: text, line: line(current, 'mine waits', text, me) };
  waiting.set(ref, word);
  if (link.isOpen) say(ref, word);
};
