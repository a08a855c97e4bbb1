// ── Where to: /echo, a topic, or many ─────────────────────────────────────────────────────────────────────────────────────
const target = {
  get isEcho() { return $('target-echo').checked; },
  get isMany() { return $('target-many').checked; },
  get comesBack() { return this.isEcho || !$('no-echo').checked; },

  url() {
    const base = (location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host;
    if (this.isEcho) return this.withToken(base + '/echo');
    if (this.isMany) return this.withToken(base + '/ws' + ($('name').value && '?name=' + encodeURIComponent($('name').value)));
    return this.withToken(base + '/ws/' + encodeURIComponent($('topic').value) + ($('no-echo').checked ? '?echo=false' : ''));
  },

  withToken(url) {
    const token = $('token').value;
    return token ? url + (url.includes('?') ? '&' : '?') + 'token=' + encodeURIComponent(token) : url;
  },

  /// The address without the token.
  shown() {
    return this.url().replace(/([?&]token=).*/, '$1…');
  },

  problem() {
    const topic = $('topic').value;
    if (this.isEcho) return '';
    if (this.isMany) return utf8Length($('name').value) > 200 ? 'A name has at most 200 bytes.' : '';
    if (topic === '.' || topic === '..') return 'A topic named . or .. cannot stand in a URL.';
    if (topic.isWellFormed?.() === false) return 'A topic is well-formed Unicode.';
    const bytes = utf8Length(topic);
    return bytes < 1 || bytes > 200 ? 'A topic has 1 to 200 bytes; this one has ' + bytes + '.' : '';
  },

  show() {
    const problem = this.problem();
    $('topic-options').hidden = this.isEcho || this.isMany;
    $('many-options').hidden = !this.isMany;
    $('topics-here').hidden = this.isEcho;
    $('raw-forms').hidden = this.isMany;
    $('many-forms').hidden = !this.isMany;
    $('subscriptions').hidden = !this.isMany;
    $('topic-problem').textContent = this.isMany ? '' : problem;
    $('name-problem').textContent = this.isMany ? problem : '';
    $('another').href = this.isMany || problem ? '#' : '#' + encodeURIComponent($('topic').value);
    if (!client.socket) $('address').textContent = problem ? '' : this.shown();
  },
};

// ── Figures, and which buttons can be pressed ───────────────────────────────────────────────────────────────────────
const figures = {
  asked: 0,

  show() {
    this.asked ||= setTimeout(() => this.now(), 30);
  },

  now() {
    this.asked = 0;
    const state = client.socket ? ['connecting', 'open', 'closing', 'closed'][client.socket.readyState] : 'closed';
    if ($('state').textContent !== state) {
      $('state').textContent = state;
      $('state').dataset.state = state;
    }
    $('connect').disabled = client.socket !== null;
    for (const id of ['subscribe', 'publish']) $(id).disabled = state !== 'open' || !client.isMany;
    for (const id of ['send', 'send-binary']) $(id).disabled = state !== 'open';
    $('send-many').disabled = state !== 'open' || burst.run !== null;
    $('close').disabled = state !== 'open' && state !== 'connecting';
    $('sent').textContent = number(client.sent);
    $('received').textContent = number(client.received);
    const buffered = client.socket?.bufferedAmount ?? 0;
    $('buffered').textContent = size(buffered);
    if (burst.run) burst.show();
    // Nothing tells us when the browser has handed over what it holds.
    else if (buffered > 0) this.show();
  },
};

// ── The forms ───────────────────────────────────────────────────────────────────────────────────────────────────────
function on(form, what) {
  $(form).addEventListener('submit', (event) => { event.preventDefault(); what(); });
}

on('connect-form', () => {
  target.show();
  if (target.problem()) $(target.isMany ? 'name' : 'topic').focus();
  else if (!client.socket) client.connect();
});
on('text-form', () => { client.send($('text').value, $('text').value); $('text').select(); });
on('binary-form', () => {
  const data = new Uint8Array(Number($('bytes').value));
  // The browser gives at most 64 KiB of randomness at a time.
  for (let at = 0; at < data.length; at += 65536) crypto.getRandomValues(data.subarray(at, at + 65536));
  client.send(data, 'binary, ' + number(data.length) + ' bytes: ' + hex(data.buffer));
});
on('many-form', () => { if (client.isOpen && !burst.run) burst.start(Number($('count').value)); });
on('subscribe-form', () => {
  const [name, from] = [$('sub-topic').value, $('from').value];
  const known = many.topics.get(name);
  $('sub-problem').textContent = known?.isOn ? 'You are subscribed to it: unsubscribe first.' : '';
  if (!many.isOpen || known?.isOn) return;
  many.add(name, { now: undefined, all: 0, id: Number($('since').value) }[from], $('presence').checked);
  if (!$('pub-topic').value) $('pub-topic').value = name;
});
on('publish-form', () => {
  $('pub-problem').textContent = '';
  try {
    const data = $('is-json').checked ? JSON.parse($('data').value) : $('data').value;
    if (many.isOpen) many.publish($('pub-topic').value, data, $('key').value);
  } catch {
    $('pub-problem').textContent = 'This is not JSON. Without the tick it is a text.';
  }
  $('data').select();
});
on('close-form', () => {
  $('close-problem').textContent = '';
  try {
    if (client.socket) client.close($('code').value, $('reason').value);
  } catch (error) {
    $('close-problem').textContent = utf8Length($('reason').value) > 123
      ? 'A reason has at most 123 bytes.' : 'A page may close with 1000, or 3000 to 4999.';
  }
});
$('connect-form').addEventListener('input', () => { many.stay(); target.show(); listed.look(); });
$('from').addEventListener('input', () => { $('since-field').hidden = $('since').disabled = $('from').value !== 'id'; });
document.addEventListener('visibilitychange', () => listed.look());
$('clear').addEventListener('click', () => log.clear());

// “Open in another tab” leads here with the topic behind the #.
function fromHash() {
  try {
    const topic = decodeURIComponent(location.hash.slice(1));
    if (topic) Object.assign($('topic'), { value: topic }) && ($('target-topic').checked = true);
  } catch { /* not ours */ }
  target.show();
}
addEventListener('hashchange', fromHash);
fromHash();
listed.look();
figures.now();
