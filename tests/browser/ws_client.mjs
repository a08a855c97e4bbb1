// Tests the /echo of a running standpipe with npm `ws`:  node ws_client.mjs http://127.0.0.1:9000
import { once } from 'node:events';
import WebSocket from 'ws';
import { baseUrl, check, equal, finish, within } from './checks.mjs';

const echoUrl = baseUrl().replace(/^http/, 'ws') + '/echo';
const maxMessage = 64 * 1024;

/// A client that stores the messages it receives, so that none is missed between two waits.
class Client {
  constructor() {
    this.socket = new WebSocket(echoUrl);
    // An error shows when a wait ends. Without a listener it would end this process.
    this.socket.on('error', () => {});
    this.messages = [];
    this.notify = () => {};
    this.socket.on('message', (data, isBinary) => {
      this.messages.push({ data, isBinary });
      this.notify();
    });
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
  }

  static async open() {
    const client = new Client();
    await within(5, 'the response 101', once(client.socket, 'open'));
    return client;
  }

  async receive(what) {
    if (this.messages.length === 0) await within(10, what, new Promise((resolve) => { this.notify = resolve; }));
    return this.messages.shift();
  }

  end(what = 'the connection to end') {
    return within(10, what, this.closed);
  }
}

async function expectEcho(client, message, isBinary = false) {
  client.socket.send(message, { binary: isBinary });
  const echo = await client.receive(`the echo of ${message.length} bytes`);
  equal('whether the echo is binary', echo.isBinary, isBinary);
  equal('the difference of the echo', Buffer.compare(echo.data, Buffer.from(message)), 0);
}

/// Runs `body` with a client and closes it afterwards. The closing handshake must be normal.
const withClient = (body) => async () => {
  const client = await Client.open();
  try {
    await body(client);
    client.socket.close(1000);
    equal('the close code', (await client.end()).code, 1000);
  } finally {
    client.socket.terminate();
  }
};

await check('text is echoed', withClient(async (client) => {
  for (const text of ['hello', '', 'grüße, 世界 🌍', 'x'.repeat(65_535)]) await expectEcho(client, text);
}));

await check('binary data is echoed', withClient(async (client) => {
  for (const length of [0, 1, 125, 126, 65_535]) await expectEcho(client, Buffer.alloc(length, 0xa5), true);
}));

await check('a message of exactly the maximum size is echoed', withClient(async (client) => {
  await expectEcho(client, Buffer.alloc(maxMessage, 7), true);
}));

await check('fragments with a ping between them are echoed as one message', withClient(async (client) => {
  const pong = once(client.socket, 'pong');
  client.socket.send('one, ', { fin: false });
  client.socket.send('', { fin: false });
  client.socket.ping('between');
  client.socket.send('two, ', { fin: false });
  client.socket.send('three', { fin: true });
  equal('the message', (await client.receive('the message')).data.toString(), 'one, two, three');
  equal('the pong', (await within(5, 'the pong', pong))[0].toString(), 'between');
}));

await check('a pong has the payload of its ping', withClient(async (client) => {
  for (const data of ['', 'are you there', 'p'.repeat(125)]) {
    const pong = once(client.socket, 'pong');
    client.socket.ping(data);
    equal('the pong', (await within(5, 'the pong', pong))[0].toString(), data);
  }
}));

await check('1000 messages in one burst are echoed in order', withClient(async (client) => {
  for (let n = 0; n < 1000; n++) client.socket.send(`number ${n}`);
  for (let n = 0; n < 1000; n++) equal('the next message', (await client.receive(`number ${n}`)).data.toString(), `number ${n}`);
}));

// After its Close the server still reads this much. With more, it resets the connection and the code may be lost.
for (const [name, length] of [['one byte', maxMessage + 1], ['100,000 bytes', maxMessage + 100_000]]) {
  await check(`a message ${name} too large is answered with 1009`, async () => {
    const client = await Client.open();
    try {
      client.socket.send(Buffer.alloc(length), { binary: true });
      equal('the close code', (await client.end('the Close with 1009')).code, 1009);
      equal('the number of echoes', client.messages.length, 0);
    } finally {
      client.socket.terminate();
    }
  });
}

await check('fragments that are too large together are answered with 1009', async () => {
  const client = await Client.open();
  try {
    for (let n = 0; n < 3; n++) client.socket.send(Buffer.alloc(maxMessage / 2), { binary: true, fin: false });
    equal('the close code', (await client.end('the Close with 1009')).code, 1009);
  } finally {
    client.socket.terminate();
  }
});

await check('a Close is answered with its code and reason', async () => {
  for (const [code, reason] of [[1000, ''], [4321, 'good night, 世界'], [3000, 'r'.repeat(123)]]) {
    const client = await Client.open();
    try {
      client.socket.close(code, reason);
      const end = await client.end(`the Close with ${code}`);
      equal('the close code', end.code, code);
      equal('the reason', end.reason, reason);
    } finally {
      client.socket.terminate();
    }
  }
});

finish();
