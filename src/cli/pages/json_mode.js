// ── The topics that are there, looked at again and again while somebody may want one ────────────────────────────────
const listed = {
  every: 3000,
  timer: 0,
  asking: false,
  rows: new Map(),
  policies: new Map(),

  get isWanted() { return !target.isEcho && !document.hidden; },

  /// Looks now, and then every few seconds, until nobody wants to know or the server does not say.
  async look() {
    clearTimeout(this.timer);
    if (!this.isWanted || this.asking) return;
    this.asking = true;
    try {
      const answer = await fetch(target.withToken('/topics'));
      if (!answer.ok) throw new Error((await answer.text()).trim());
      this.show(await answer.json());
      this.timer = setTimeout(() => this.look(), this.every);
    } catch (error) {
      $('topics-note').textContent = 'Not to be seen: ' + error.message;
    } finally {
      this.asking = false;
    }
  },

  show(topics) {
    $('topics-note').textContent = topics.length ? '' : 'None yet. Connecting to one, or subscribing, makes it.';
    this.policies = new Map(topics.map(({ topic, policy }) => [topic, policy]));
    const gone = new Set(this.rows.keys());
    for (const topic of topics) {
      gone.delete(topic.topic);
      if (!this.rows.has(topic.topic)) this.rows.set(topic.topic, this.row(topic.topic));
      const { row, about } = this.rows.get(topic.topic);
      about.textContent = number(topic.members) + (topic.members === 1 ? ' member' : ' members') + ' · ' + topic.policy
        + (topic.history ? ' · ' + number(topic.history) + ' kept' : '');
      $('topics').append(row);
    }
    for (const name of gone) {
      this.rows.get(name).row.remove();
      this.rows.delete(name);
    }
    $('known-topics').replaceChildren(...topics.map(({ topic }) => Object.assign(document.createElement('option'), { value: topic })));
  },

  row(name) {
    const [row, button, about] = ['li', 'button', 'span'].map((tag) => document.createElement(tag));
    Object.assign(button, { type: 'button', className: 'pick', textContent: name });
    about.className = 'muted';
    button.append(' ', about);
    button.addEventListener('click', () => this.pick(name));
    row.append(button);
    return { row, about };
  },

  pick(name) {
    const field = $(target.isMany ? 'sub-topic' : 'topic');
    field.value = name;
    if (target.isMany) $('pub-topic').value = name;
    target.show();
    field.focus();
  },
};

// ── JSON mode: many topics on one connection, as src/PROTOCOL.md describes it ───────────────────────────────────────
const many = {
  /// What we are, or want to be, subscribed to. It outlives a connection: the next one goes on where this one ended.
  topics: new Map(),
  /// What a ref's answer is for.
  waiting: new Map(),
  ref: 0,
  tries: 0,
  timer: 0,

  get isOpen() { return client.isOpen && client.isMany; },

  command(fields, done, failed = () => {}) {
    this.waiting.set(++this.ref, { done, failed });
    client.socket.send(JSON.stringify({ ...fields, ref: this.ref }));
    client.sent++;
    figures.show();
  },

  // Coming and going.

  opened() {
    this.tries = 0;
    // In a conflating topic the last id is no mark: it may have come before an older one of another key.
    for (const topic of this.topics.values()) this.subscribe(topic, listed.policies.get(topic.name) === 'conflate' ? 0 : topic.last);
  },

  ended(code, byUs) {
    this.waiting.clear();
    for (const topic of this.topics.values()) this.off(topic);
    // After these the same would happen again.
    if (byUs || !$('again').checked || [1002, 1007, 1008, 1009, 1013].includes(code)) return;
    // With some chance in it: all who were cut together should not come back together.
    const delay = Math.min(500 * 2 ** this.tries++, 10_000) * (0.75 + Math.random() / 2);
    log.add('life', 'connecting again in ' + milliseconds(delay));
    this.timer = setTimeout(() => { if (!client.socket && target.isMany) client.connect(); }, delay);
  },

  stay() {
    clearTimeout(this.timer);
  },

  // Subscriptions.

  add(name, since, presence) {
    const topic = this.topics.get(name) ?? { name, last: undefined, messages: 0, gaps: 0, names: new Set(), isOn: false, view: this.view(name) };
    topic.presence = presence;
    this.topics.set(name, topic);
    this.subscribe(topic, since);
  },

  subscribe(topic, since) {
    const asked = { sub: topic.name, ...(since !== undefined && { since }), ...(topic.presence && { presence: true }) };
    this.command(asked, (id) => {
      topic.isOn = true;
      // Below what we asked for: the server's clock was set back, and its ids began again.
      if (topic.last === undefined || id < since) topic.last = id;
      log.add('life', 'subscribed' + (since === undefined ? '' : since === 0 ? ', with all there was' : ', with what came after ' + since),
        topic.name + ' · ' + id);
      this.show(topic);
      this.who(topic);
      listed.look();
    }, () => this.forget(topic));
    this.show(topic);
  },

  unsubscribe(topic) {
    if (!this.isOpen || !topic.isOn) return this.forget(topic);
    this.command({ unsub: topic.name }, () => {
      log.add('life', 'unsubscribed', topic.name);
      this.forget(topic);
      listed.look();
    });
  },

  off(topic) {
    topic.isOn = false;
    topic.names.clear();
    this.show(topic);
  },

  forget(topic) {
    this.topics.delete(topic.name);
    topic.view.row.remove();
    figures.show();
  },

  /// Who is there already; joins and leaves come by themselves. First subscribed, then asked: nobody is missed.
  async who(topic) {
    // A URL takes these two for something else.
    if (!topic.presence || topic.name === '.' || topic.name === '..') return;
    try {
      const answer = await fetch(target.withToken('/topics/' + encodeURIComponent(topic.name) + '/presence'));
      if (!answer.ok) throw new Error((await answer.text()).trim());
      if (!topic.isOn) return;
      topic.names = new Set(await answer.json());
    } catch (error) {
      log.add('bad', 'who is there: ' + error.message, topic.name);
    }
    this.show(topic);
  },

  // Messages.

  publish(name, data, key) {
    const left = performance.now();
    this.command({ pub: name, data, ...(key && { key }) }, () => {
      $('round-trip').textContent = milliseconds(performance.now() - left);
    });
    log.add('out', typeof data === 'string' ? data : JSON.stringify(data), name + (key && ' · key ' + key));
  },

  take(text) {
    const message = JSON.parse(text);
    const topic = this.topics.get(message.topic ?? message.presence);
    if ('error' in message) log.add('bad', message.error);
    if ('error' in message || 'ack' in message) {
      const { done, failed } = this.waiting.get(message.ack ?? message.ref) ?? {};
      this.waiting.delete(message.ack ?? message.ref);
      if ('ack' in message) done?.(message.id);
      else failed?.();
    } else if ('data' in message) this.message(topic, message);
    else if ('gap' in message) this.gap(topic, message.topic, ...message.gap);
    else if ('join' in message || 'leave' in message) this.presence(topic, message);
    if (topic) this.show(topic);
  },

  message(topic, { topic: name, id, data, base64 }) {
    if (topic) Object.assign(topic, { last: id, messages: topic.messages + 1 });
    const what = base64 ? 'binary, base64: ' + data : typeof data === 'string' ? data : JSON.stringify(data);
    log.add('in', what, name + ' · ' + id);
  },

  gap(topic, name, first, last) {
    const count = last - first + 1;
    // Whoever asks for all, since 0, is told where all begins: nothing was missed.
    if (topic) Object.assign(topic, { last, gaps: topic.gaps + (first === 1 ? 0 : 1) });
    // Ids begin with a time, so those from before the topic's beginning are no count of messages.
    const what = count < 1_000_000 ? number(count) + (count === 1 ? ' message' : ' messages') : 'what there was';
    log.add('gap', first === 1 ? 'gap: nothing is kept up to ' + last : 'gap: ' + what + ' will never come, ' + first + ' to ' + last, name);
  },

  presence(topic, message) {
    const joined = 'join' in message;
    const name = joined ? message.join : message.leave;
    if (joined) topic?.names.add(name);
    else topic?.names.delete(name);
    log.add('who', name + (joined ? ' has come' : ' has left'), message.presence);
  },

  // How a subscription is shown.

  view(name) {
    const make = (tag, className, ...children) => {
      const element = Object.assign(document.createElement(tag), { className });
      element.append(...children);
      return element;
    };
    const [figures, names] = [make('span', 'muted'), make('span', 'names')];
    const button = make('button', 'plain', 'Unsubscribe');
    button.type = 'button';
    button.setAttribute('aria-label', 'Unsubscribe from ' + name);
    button.addEventListener('click', () => this.unsubscribe(this.topics.get(name)));
    const row = make('li', '', make('div', 'grow', make('strong', '', name), figures, names), button);
    row.dataset.topic = name;
    $('subscriptions').append(row);
    return { row, figures, names };
  },

  show({ name, last, messages, gaps, names, isOn, presence, view }) {
    view.row.classList.toggle('off', !isOn);
    view.figures.textContent = (isOn ? '' : 'not now · ') + number(messages) + ' received · ' + number(gaps) + (gaps === 1 ? ' gap' : ' gaps')
      + ' · last id ' + (last ?? '–');
    view.names.hidden = !presence;
    view.names.textContent = names.size ? 'here: ' + [...names].sort().join(', ') : 'nobody here has a name';
    figures.show();
  },
};

