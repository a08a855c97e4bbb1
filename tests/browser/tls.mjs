// Tests TLS with npm `ws` and Node, and the policies of topics over it:  node tls.mjs https://127.0.0.1:9000
// NODE_EXTRA_CA_CERTS names the file of the authority. The topics `drop-oldest`, `drop-newest`, `conflate` and `block` have
// these policies, and others have `disconnect`.
import { once } from 'node:events';
import { request } from 'node:https';
import { connect } from 'node:tls';
import WebSocket from 'ws';
import { baseUrl, check, equal, finish, within } from './checks.mjs';

const base = new URL(baseUrl());
const wss = base.origin.replace(/^https/, 'wss');
const MESSAGES = 400;
const SIZE = 16 * 1024;

async function open(path, options = {}) {
  const socket = new WebSocket(wss + path, { maxPayload: 0, perMessageDeflate: false, ...options });
  // An error shows when a wait ends. Without a listener it would end this process.
  socket.on('error', () => {});
  socket.closed = new Promise((resolve) => socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() })));
  await within(5, 'the response 101', once(socket, 'open'));
  return socket;
}

/// Publishes over HTTPS, and returns the status.
const publish = (topic, body) => new Promise((resolve, reject) => {
  const sending = request(`${base.origin}/publish/${topic}`, { method: 'POST' }, (answer) => {
    answer.resume();
    answer.on('end', () => resolve(answer.statusCode));
  });
  sending.on('error', reject);
  sending.end(body);
});

/// Makes a TLS handshake, and returns the socket, or throws the error.
async function handshake(options) {
  const socket = connect({ host: base.hostname, port: base.port, ...options });
  await within(5, 'the TLS handshake', once(socket, 'secureConnect'));
  return socket;
}

for (const version of ['TLSv1.2', 'TLSv1.3']) {
  await check(`Node speaks ${version}, and resumes its session`, async () => {
    const options = { minVersion: version, maxVersion: version, ALPNProtocols: ['http/1.1'] };
    const first = await handshake(options);
    equal('the version', first.getProtocol(), version);
    equal('the ALPN protocol', first.alpnProtocol, 'http/1.1');
    const session = version === 'TLSv1.2' ? first.getSession() : (await within(5, 'a ticket', once(first, 'session')))[0];
    first.destroy();
    const second = await handshake({ ...options, session });
    equal('whether the session was resumed', second.isSessionReused(), true);
    second.destroy();
  });
}

await check('a client that does not trust the authority does not connect', async () => {
  let error;
  try { (await handshake({ ca: [] })).destroy(); } catch (thrown) { error = thrown; }
  equal('the error', error?.code, 'SELF_SIGNED_CERT_IN_CHAIN');
});

for (const version of ['TLSv1.2', 'TLSv1.3']) {
  const options = { minVersion: version, maxVersion: version };

  await check(`large messages are sent and received at the same time over ${version}`, async () => {
    const socket = await open('/echo', options);
    let received = 0;
    const all = new Promise((resolve, reject) => socket.on('message', (data) => {
      if (Buffer.compare(data, Buffer.alloc(60_000, received)) !== 0) reject(new Error(`message ${received} is wrong`));
      if (++received === 500) resolve();
    }));
    // Nothing waits for an echo.
    for (let n = 0; n < 500; n++) socket.send(Buffer.alloc(60_000, n));
    await within(30, '500 echoes', all);
    socket.close(1000);
    equal('the close code', (await within(5, 'the Close', socket.closed)).code, 1000);
  });

  /// Subscribes a client that stops reading. Publishes all messages, lets it read again, and returns their numbers.
  const slow = async (topic) => {
    const socket = await open(`/ws/${topic}`, options);
    const numbers = [];
    let last;
    const ended = new Promise((resolve) => { last = resolve; });
    socket.on('message', (data) => {
      numbers.push(Number(data.subarray(0, 8)));
      if (numbers.at(-1) >= MESSAGES - 1) last();
    });
    socket.pause();
    let published = 0;
    const publishing = (async () => {
      for (; published < MESSAGES; published++) {
        const body = Buffer.alloc(SIZE, 'x');
        body.write(String(published).padStart(8, '0'));
        equal('the status of a publish', await publish(topic, body), 202);
      }
    })();
    return { socket, numbers, ended, publishing, count: () => published };
  };

  const inOrder = (numbers) => equal('the order', numbers.every((number, at) => at === 0 || numbers[at - 1] < number), true);

  await check(`disconnect closes a slow ws with 4008 over ${version}`, async () => {
    const { socket, numbers, publishing } = await slow('disconnect');
    await within(20, 'the publisher, which does not wait', publishing);
    socket.resume();
    const { code, reason } = await within(10, 'the Close', socket.closed);
    equal('the close code', code, 4008);
    equal('whether there is a reason', reason.length > 0, true);
    inOrder(numbers);
    equal('the messages before it are complete', numbers.length, numbers.at(-1) + 1);
    equal('whether messages are missing', numbers.length < MESSAGES, true);
  });

  for (const topic of ['drop-oldest', 'conflate']) {
    await check(`${topic} gives a slow ws the newest messages over ${version}`, async () => {
      const { socket, numbers, publishing, ended } = await slow(topic);
      await within(20, 'the publisher, which does not wait', publishing);
      socket.resume();
      await within(10, 'the last message', ended);
      inOrder(numbers);
      equal('whether messages are missing', numbers.length < MESSAGES, true);
      socket.close(1000);
      equal('the close code', (await within(5, 'the Close', socket.closed)).code, 1000);
    });
  }

  await check(`drop-newest gives a slow ws the oldest messages over ${version}`, async () => {
    const { socket, numbers, publishing } = await slow('drop-newest');
    await within(20, 'the publisher, which does not wait', publishing);
    const pong = once(socket, 'pong');
    socket.resume();
    socket.ping();
    await within(10, 'the pong', pong);
    // The Close comes behind what was kept.
    socket.close(1000);
    equal('the close code', (await within(5, 'the Close', socket.closed)).code, 1000);
    equal('the messages are complete', numbers.length, numbers.at(-1) + 1);
    equal('whether messages are missing', numbers.length < MESSAGES, true);
  });

  await check(`block makes the publisher wait for a slow ws over ${version}`, async () => {
    const { socket, numbers, publishing, ended, count } = await slow('block');
    let before = -1;
    // This cannot be an event: the publisher has stopped when it makes no progress for half a second.
    while (before !== count()) {
      before = count();
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    equal('whether the publisher waits', count() < MESSAGES, true);
    socket.resume();
    await within(20, 'the publisher', publishing);
    await within(10, 'the last message', ended);
    inOrder(numbers);
    equal('the messages', numbers.length, MESSAGES);
    socket.terminate();
  });
}

finish();
