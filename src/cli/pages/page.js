// ── The token, if the server requires one ──────────────────────────────────────────────────────────────────────────
const token = {
  get value() { return $('token').value.trim(); },
  /// Whether a subprotocol and a header can contain the token (RFC 9110 §5.6.2). Signed tokens always fit.
  get fitsHeader() { return /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(this.value); },
};

// ── The target: /echo, one topic in raw mode, or JSON mode ──────────────────────────────────────────────────────────
const target = {
  get isEcho() { return $('target-echo').checked; },
  get isJson() { return $('target-many').checked; },
  get comesBack() { return this.isEcho || !$('no-echo').checked; },

  url() {
    const base = (location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host;
    if (this.isEcho) return this.withToken(base + '/echo');
    if (this.isJson) return this.withToken(base + '/ws' + ($('name').value && '?name=' + encodeURIComponent($('name').value)));
    return this.withToken(base + '/ws/' + encodeURIComponent($('topic').value) + ($('no-echo').checked ? '?echo=false' : ''));
  },

  /// Returns the subprotocols to offer. The token is one of them, because proxies log URLs.
  protocols() {
    const mode = this.isJson ? 'standpipe.v1' : 'standpipe.raw';
    return token.fitsHeader ? [mode, 'bearer.' + token.value] : [mode];
  },

  /// Adds a token that no header can carry.
  withToken(url) {
    return token.value === '' || token.fitsHeader ? url : url + (url.includes('?') ? '&' : '?') + 'token=' + encodeURIComponent(token.value);
  },

  /// Requests a path of the server, with the token.
  fetch(path) {
    return fetch(this.withToken(path), { headers: token.fitsHeader ? { Authorization: 'Bearer ' + token.value } : {} });
  },

  /// Returns the URL with the token hidden.
  displayUrl() {
    return this.url().replace(/([?&]token=).*/, '$1…');
  },

  problem() {
    const topic = $('topic').value;
    if (this.isEcho) return '';
    if (this.isJson) return utf8Length($('name').value) > 200 ? 'A name may have at most 200 bytes.' : '';
    if (topic === '.' || topic === '..') return 'A topic named . or .. cannot be written in a URL.';
    if (topic.isWellFormed?.() === false) return 'A topic name must be valid Unicode.';
    const bytes = utf8Length(topic);
    return bytes < 1 || bytes > 200 ? 'A topic name must have 1 to 200 bytes; this one has ' + bytes + '.' : '';
  },

  show() {
    const problem = this.problem();
    $('topic-options').hidden = this.isEcho || this.isJson;
    $('json-options').hidden = !this.isJson;
    $('topic-list').hidden = this.isEcho;
    $('raw-forms').hidden = this.isJson;
    $('json-forms').hidden = !this.isJson;
    $('subscriptions').hidden = !this.isJson;
    $('topic-problem').textContent = this.isJson ? '' : problem;
    $('name-problem').textContent = this.isJson ? problem : '';
    $('open-topic').href = this.isJson || problem ? '#' : '#' + encodeURIComponent($('topic').value);
    if (!client.socket) $('address').textContent = problem ? '' : this.displayUrl();
  },
};

// ── The figures, and which buttons are enabled ──────────────────────────────────────────────────────────────────────
const figures = {
  timer: 0,

  /// Updates the figures soon. Calls in between are combined.
  show() {
    this.timer ||= setTimeout(() => this.showNow(), 30);
  },

  showNow() {
    this.timer = 0;
    const state = client.socket ? ['connecting', 'open', 'closing', 'closed'][client.socket.readyState] : 'closed';
    if ($('state').textContent !== state) {
      $('state').textContent = state;
      $('state').dataset.state = state;
    }
    $('connect').disabled = client.socket !== null;
    for (const id of ['subscribe', 'publish']) $(id).disabled = state !== 'open' || !client.isJson;
    for (const id of ['send', 'send-binary']) $(id).disabled = state !== 'open';
    $('renew').disabled = !jsonMode.isOpen;
    $('send-burst').disabled = state !== 'open' || burst.run !== null;
    $('close').disabled = state !== 'open' && state !== 'connecting';
    $('sent').textContent = number(client.sent);
    $('received').textContent = number(client.received);
    const buffered = client.socket?.bufferedAmount ?? 0;
    $('buffered').textContent = size(buffered);
    if (burst.run) burst.show();
    // Browsers send no event when their send buffer shrinks, so it is polled.
    else if (buffered > 0) this.show();
  },
};

// ── The forms ───────────────────────────────────────────────────────────────────────────────────────────────────────
function onSubmit(form, handle) {
  $(form).addEventListener('submit', (event) => { event.preventDefault(); handle(); });
}

onSubmit('connect-form', () => {
  target.show();
  if (target.problem()) $(target.isJson ? 'name' : 'topic').focus();
  else if (!client.socket) client.connect();
});
$('renew').addEventListener('click', () => jsonMode.renewToken(token.value));
onSubmit('text-form', () => { client.send($('text').value, $('text').value); $('text').select(); });
onSubmit('binary-form', () => {
  const data = new Uint8Array(Number($('bytes').value));
  // The browser returns at most 64 KiB of random bytes per call.
  for (let at = 0; at < data.length; at += 65536) crypto.getRandomValues(data.subarray(at, at + 65536));
  client.send(data, 'binary, ' + number(data.length) + ' bytes: ' + hex(data.buffer));
});
onSubmit('burst-form', () => { if (client.isOpen && !burst.run) burst.start(Number($('count').value)); });
onSubmit('subscribe-form', () => {
  const [name, from] = [$('sub-topic').value, $('from').value];
  const known = jsonMode.topics.get(name);
  $('sub-problem').textContent = known?.isActive ? 'You are already subscribed to this topic. Unsubscribe first.' : '';
  if (!jsonMode.isOpen || known?.isActive) return;
  jsonMode.add(name, { now: undefined, all: 0, id: Number($('since').value) }[from], $('presence').checked);
  if (!$('pub-topic').value) $('pub-topic').value = name;
});
onSubmit('publish-form', () => {
  $('pub-problem').textContent = '';
  try {
    const isJson = $('is-json').checked;
    if (isJson) JSON.parse($('data').value);
    if (jsonMode.isOpen) jsonMode.publish($('pub-topic').value, $('data').value, isJson, $('key').value);
  } catch {
    $('pub-problem').textContent = 'This is not JSON. Clear the checkbox to send it as text.';
  }
  $('data').select();
});
onSubmit('close-form', () => {
  $('close-problem').textContent = '';
  try {
    if (client.socket) client.close($('code').value, $('reason').value);
  } catch (error) {
    $('close-problem').textContent = utf8Length($('reason').value) > 123
      ? 'A reason may have at most 123 bytes.' : 'A page may use the codes 1000 and 3000 to 4999.';
  }
});
$('connect-form').addEventListener('input', () => { jsonMode.cancelReconnect(); target.show(); topicList.refresh(); });
$('from').addEventListener('input', () => { $('since-field').hidden = $('since').disabled = $('from').value !== 'id'; });
document.addEventListener('visibilitychange', () => topicList.refresh());
$('clear').addEventListener('click', () => log.clear());

// “Open this topic in another tab” links to this page with the topic after the #.
function applyHash() {
  try {
    const topic = decodeURIComponent(location.hash.slice(1));
    if (topic) Object.assign($('topic'), { value: topic }) && ($('target-topic').checked = true);
  } catch { /* The hash is not a topic. */ }
  target.show();
}
addEventListener('hashchange', applyHash);
applyHash();
topicList.refresh();
figures.showNow();
