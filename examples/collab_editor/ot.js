// Operational transformation for the page: the same functions as in text.rs and client.rs, with the same names and
// results. The tests check both with the same cases. This file does not use the DOM.
// An edit is an array such as [5, 'new', -3, 12]: keep 5, insert, delete 3, keep 12. Lengths are in UTF-16 code units,
// as the `length` of a string is.

const MAX_PARTS = 1000; // in an edit that the server accepts

// The kind of a part is decided by its type first. JavaScript converts a string that is compared with a number, so
// without that an inserted '5' would be taken for "keep 5", and an inserted '-2' for "delete 2".
const inserts = (part) => typeof part === 'string';
const keeps = (part) => typeof part === 'number' && part > 0;
const deletes = (part) => typeof part === 'number' && part < 0;
/// Returns whether the edit has an effect.
const changes = (op) => op.some((part) => !keeps(part));

/// Builds a normalized edit: neighbouring parts of the same kind are joined, and an insertion comes before a deletion
/// at the same position.
class Op {
  constructor(parts = []) {
    this.parts = [];
    for (const part of parts) this.add(part);
  }

  add(part) {
    const { parts } = this, end = parts.length - 1, last = parts[end];
    if (part === 0 || part === '') return this;
    if (inserts(part)) {
      if (inserts(last)) parts[end] += part;
      else if (deletes(last) && inserts(parts[end - 1])) parts[end - 1] += part;
      else if (deletes(last)) parts.splice(end, 0, part);
      else parts.push(part);
    } else if (keeps(last) && keeps(part) || deletes(last) && deletes(part)) parts[end] += part;
    else parts.push(part);
    return this;
  }
}

const join = (parts) => new Op(parts).parts;
const size = (part) => inserts(part) ? part.length : Math.abs(part);
const before = (op) => op.reduce((sum, part) => sum + (inserts(part) ? 0 : Math.abs(part)), 0);
const after = (op) => op.reduce((sum, part) => sum + (deletes(part) ? 0 : size(part)), 0);
/// Returns whether the text can be split here without splitting a surrogate pair.
const canSplit = (text, at) => !(at < text.length && (text.charCodeAt(at) & 0xfc00) === 0xdc00);

function apply(text, op) {
  if (before(op) !== text.length) throw new Error(`the edit is for a text of ${before(op)} units, but the text has ${text.length}`);
  let at = 0, result = '';
  for (const part of op) {
    if (inserts(part)) result += part;
    else {
      if (keeps(part)) result += text.slice(at, at + part);
      at += Math.abs(part);
    }
  }
  return result;
}

/// Transforms two concurrent edits of the same text, and returns each as it applies after the other. `first` is the
/// edit that comes first in the server's order.
function transform(first, second) {
  if (before(first) !== before(second)) throw new Error('the edits are for texts of different lengths');
  const one = new Op(), two = new Op();
  let i = 0, j = 0, a = first[0], b = second[0];
  for (;;) {
    if (inserts(a)) {
      one.add(a); two.add(a.length);
      a = first[++i];
    } else if (inserts(b)) {
      one.add(b.length); two.add(b);
      b = second[++j];
    } else if (a === undefined || b === undefined) return [one.parts, two.parts];
    else {
      const n = Math.min(Math.abs(a), Math.abs(b));
      if (keeps(a) && keeps(b)) { one.add(n); two.add(n); }
      else if (keeps(b)) one.add(-n);
      else if (keeps(a)) two.add(-n);
      a = (keeps(a) ? a - n : a + n) || first[++i];
      b = (keeps(b) ? b - n : b + n) || second[++j];
    }
  }
}

/// Combines an edit and the next one, which is applied after it, into one.
function then(op, next) {
  if (after(op) !== before(next)) throw new Error('the second edit does not fit the text after the first');
  const both = new Op();
  let i = 0, j = 0, a = op[0], b = next[0];
  for (;;) {
    if (deletes(a)) { both.add(a); a = op[++i]; }
    else if (inserts(b)) { both.add(b); b = next[++j]; }
    else if (a === undefined || b === undefined) return both.parts;
    else {
      const n = Math.min(size(a), Math.abs(b));
      if (inserts(a)) {
        if (keeps(b)) both.add(a.slice(0, n));
        a = a.slice(n) || op[++i];
      } else {
        both.add(keeps(b) ? n : -n);
        a = a - n || op[++i];
      }
      b = (keeps(b) ? b - n : b + n) || next[++j];
    }
  }
}

/// Returns the edit that turns `before` into `after`. It keeps the common beginning and the common end. If there are
/// several such edits, it returns the one that ends at `caret`. In a row of equal letters, only the caret shows which
/// one was typed.
function between(before, after, caret = after.length) {
  const least = Math.min(before.length, after.length);
  let left = 0, right = 0;
  // Text after the caret was not typed, so the common end after the caret is matched first.
  while (right < Math.min(least, after.length - caret) && before.at(-1 - right) === after.at(-1 - right)) right++;
  while (left < least - right && before[left] === after[left]) left++;
  while (!canSplit(before, left) || !canSplit(after, left)) left--;
  while (right < least - left && before.at(-1 - right) === after.at(-1 - right)) right++;
  while (!canSplit(before, before.length - right) || !canSplit(after, after.length - right)) right--;
  return join([left, after.slice(left, after.length - right), left + right - before.length, right]);
}

/// Returns the edit that undoes `op`. `text` is the text before `op`.
function undoing(text, op) {
  let at = 0;
  return join(op.map((part) => {
    if (inserts(part)) return -part.length;
    at += Math.abs(part);
    return keeps(part) ? part : text.slice(at + part, at);
  }));
}

/// Returns where a position in the text is after an edit. Text inserted exactly there comes after the position.
function moved(op, position) {
  let at = 0, result = position;
  for (const part of op) {
    if (inserts(part)) { if (at < position) result += part.length; continue; }
    if (deletes(part)) result -= Math.min(-part, Math.max(0, position - at));
    at += Math.abs(part);
  }
  return result;
}

/// Returns the position of the author's caret after an edit: behind the last change.
function caretOf(op) {
  const last = op.at(-1);
  return after(op) - (keeps(last) ? last : 0);
}

/// Returns the edit, or a coarser one with the same effect if it has more parts than the server accepts.
const withinLimits = (text, op) => op.length <= MAX_PARTS ? op : between(text, apply(text, op));

/// An edit is missing. The client must reconnect and fetch the whole text.
class OutOfSync extends Error {}

/// The client's side of the protocol. It has at most one pending edit, `sent`; all later edits are combined into
/// `typed`. The displayed text is `base`, then `sent`, then `typed`.
class Client {
  constructor() {
    Object.assign(this, { life: 0, revision: 0, base: '', text: '', sent: null, typed: null, aside: [], you: 0, n: 0, corrected: 0 });
  }

  /// Applies a local edit to the displayed text.
  edit(op) {
    this.text = apply(this.text, op);
    this.typed = this.typed ? then(this.typed, op) : op;
  }

  /// Returns the next edit to send, or null if an edit is pending or there is nothing to send.
  next() {
    if (this.sent || !this.typed) return null;
    this.sent = { n: ++this.n, op: withinLimits(this.base, this.typed) };
    this.typed = null;
    return this.pending();
  }

  /// Returns the pending edit, to be sent again on a new connection.
  pending() {
    return this.sent && { n: this.sent.n, rev: this.revision, op: withinLimits(this.base, this.sent.op) };
  }

  /// Handles the hello of a new connection. Returns the change of the displayed text, or null.
  hello({ hello, life, rev, text, applied, known, lives }) {
    this.you = hello;
    if (text === undefined) return null; // The missed edits follow. If the pending edit was applied, it is among them.
    // If the server does not know this author, nobody knows whether the pending edit was applied. It is not sent again
    // then, because setting the text aside is better than applying the edit twice.
    const unsure = this.sent !== null && !known;
    if (this.sent && (unsure || this.sent.n <= applied)) {
      this.base = apply(this.base, this.sent.op);
      this.sent = null;
    }
    const continues = this.life === life || lives.some(([life, rev]) => this.life === life && this.revision <= rev);
    const isDifferent = this.life !== 0 && this.base !== text;
    if (isDifferent && (unsure || !continues) && this.text !== text) this.putAside();
    // All missed edits become one. It is coarser than the single edits, but leads to the same text.
    const change = this.applyRemote(between(this.base, text));
    Object.assign(this, { life, revision: rev, base: text });
    return change;
  }

  /// Handles an edit that the server has published. Returns the change of the displayed text, or null for an own edit.
  receive({ rev, by, n, op }) {
    if (rev !== this.revision + 1) throw new OutOfSync();
    const base = apply(this.base, op);
    let change = null;
    if (this.sent && by === this.you && n === this.sent.n) {
      const own = apply(this.base, this.sent.op);
      this.sent = null;
      // The displayed text already contains the edit. It differs only if it was made coarser for sending.
      if (own !== base) {
        this.corrected++;
        change = this.applyRemote(between(own, base));
      }
    } else change = this.applyRemote(op);
    this.revision = rev;
    this.base = base;
    return change;
  }

  /// Handles the refusal of the pending edit: sets the displayed text aside and returns to the server's text.
  refused() {
    this.putAside();
    const change = between(this.text, this.base);
    Object.assign(this, { text: this.base, sent: null, typed: null });
    return change;
  }

  /// Sets the displayed text aside. The last ten such texts are kept.
  putAside() {
    this.aside = [...this.aside.slice(-9), this.text];
  }

  /// Returns the position in the displayed text for a position in the server's text.
  shown(position) {
    for (const op of [this.sent?.op, this.typed]) if (op) position = moved(op, position);
    return position;
  }

  /// Transforms a remote edit over the local ones and applies it to the displayed text.
  applyRemote(op) {
    if (this.sent) [op, this.sent.op] = transform(op, this.sent.op);
    if (this.typed) [op, this.typed] = transform(op, this.typed);
    this.text = apply(this.text, op);
    return op;
  }
}

/// The undo history of one's own edits. It is transformed over the edits of others.
class Undo {
  constructor() { Object.assign(this, { done: [], undone: [], at: 0 }); }

  /// Records a local edit of this text. Edits in quick succession are undone together.
  record(text, op, now = Date.now()) {
    const back = undoing(text, op), last = this.done.at(-1);
    if (last && now - this.at < 700) this.done.push(then(back, this.done.pop()));
    else this.done.push(back);
    if (this.done.length > 200) this.done.shift();
    this.undone = [];
    this.at = now;
  }

  /// Transforms the history over a remote edit of the displayed text.
  transformOver(op) {
    for (const stack of [this.done, this.undone]) {
      let remote = op;
      for (let i = stack.length - 1; i >= 0; i--) [remote, stack[i]] = transform(remote, stack[i]);
    }
    this.at = 0;
  }

  undo(text) { return this.take(text, this.done, this.undone); }
  redo(text) { return this.take(text, this.undone, this.done); }

  take(text, from, to) {
    let op;
    // Edits that no longer change anything, because of the edits of others, are skipped.
    do op = from.pop(); while (op && !changes(op));
    this.at = 0;
    if (!op) return null;
    to.push(undoing(text, op));
    return op;
  }
}
