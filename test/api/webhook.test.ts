/** A question by webhook, to real servers: what arrives there, and what is made of each answer. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import dns from 'node:dns';
import { webcrypto } from 'node:crypto';
import { WebhookCaller } from '../../api/client/webhook';
import type { TransactionCheck } from '../../src/broker/checkbacks';
import { ManualClock } from '../support/clock';

const SECRET = `whsec_${Buffer.from('0123456789abcdefghijklmn').toString('base64')}`;

/** A producer that remembers what it was asked, and answers as it is told. */
class Producer {
  readonly asked: { headers: IncomingHttpHeaders; method: string; path: string; body: string }[] = [];
  readonly #server = createServer((request, response) => void this.#serve(request, response));
  #arrived: () => void = () => undefined;
  /** Resolves when the next question is there. */
  arrival = this.#next();

  constructor(readonly answer: (response: ServerResponse) => void) {}

  async start(): Promise<this> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/checks?bank=1`;
  }

  #next(): Promise<void> {
    return new Promise((resolve) => (this.#arrived = resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    const { headers, method, url } = request;
    this.asked.push({ headers, method: method!, path: url!, body: Buffer.concat(parts).toString() });
    this.#arrived();
    this.answer(response);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

const clock = new ManualClock();
const opened: { stop?: () => Promise<void>; close?: () => Promise<void> }[] = [];

afterEach(async () => {
  jest.restoreAllMocks();
  for (const one of opened.splice(0)) await (one.stop?.() ?? one.close?.());
  expect(clock.pendingTimers).toBe(0);
});

async function producer(answer: (response: ServerResponse) => void): Promise<Producer> {
  const started = await new Producer(answer).start();
  opened.unshift(started);
  return started;
}

function caller(networks: 'public' | 'any' = 'any'): WebhookCaller {
  const describe = ({ transactionId, half }: TransactionCheck) =>
    JSON.stringify({ transactionId, checks: half.checks, message: { body: '100 € from A to B' } });
  const made = new WebhookCaller({ clock, networks, describe });
  opened.push(made);
  return made;
}

/** Bytes without end, until nobody listens. */
function pour(response: ServerResponse): void {
  const more = (): void => void response.write(' '.repeat(1024), (error) => (error ? undefined : more()));
  more();
}

const question = (checks = 1, transactionId = '7F00000100001F900000000000005001'): TransactionCheck => ({
  transactionId,
  half: {
    ...{ topic: 1, topicName: 'transfers', producerGroup: 'banks', messageId: '', preparedAt: 0 },
    ...{ checks, nextCheck: 0 },
  },
  record: Buffer.alloc(0),
});

const says =
  (body: string, status = 200) =>
  (response: ServerResponse) =>
    response.writeHead(status).end(body);
const ask = (url: string, by = caller(), check = question()) => by.ask({ url, secret: SECRET }, check);

/** As the specification of Standard Webhooks tells a receiver to: the HMAC of id, timestamp and payload, joined by dots. */
async function verified(headers: IncomingHttpHeaders, payload: string): Promise<boolean> {
  const bytes = Buffer.from(SECRET.slice('whsec_'.length), 'base64');
  const key = await webcrypto.subtle.importKey('raw', bytes, { name: 'HMAC', hash: 'SHA-256' }, false, ['verify']);
  const signed = Buffer.from([headers['webhook-id'], headers['webhook-timestamp'], payload].join('.'));
  const signatures = String(headers['webhook-signature']).split(' ');
  expect(signatures).toEqual([expect.stringMatching(/^v1,[A-Za-z0-9+/]{43}=$/)]);
  return webcrypto.subtle.verify('HMAC', key, Buffer.from(signatures[0]!.slice('v1,'.length), 'base64'), signed);
}

describe('a question', () => {
  test('is signed as Standard Webhooks says, with the time at which it is asked', async () => {
    const bank = await producer(says('{"resolution":"COMMIT"}'));
    await ask(bank.url);
    const [{ headers, method, path, body }] = bank.asked as [(typeof bank.asked)[0]];
    expect([method, path, headers['content-type']]).toEqual(['POST', '/checks?bank=1', 'application/json']);
    expect(headers['webhook-timestamp']).toBe(String(clock.now() / 1000));
    expect(JSON.parse(body)).toEqual({
      type: 'transaction.check',
      timestamp: new Date(clock.now()).toISOString(),
      data: { transactionId: question().transactionId, checks: 1, message: { body: '100 € from A to B' } },
    });
    expect(await verified(headers, body)).toBe(true);
    expect(await verified(headers, `${body} `)).toBe(false);
    expect(await verified({ ...headers, 'webhook-id': 'chk_other' }, body)).toBe(false);
    expect(await verified({ ...headers, 'webhook-timestamp': '1' }, body)).toBe(false);
  });

  test('has an id of its own, and the same one when it is asked again', async () => {
    const bank = await producer(says('{"resolution":"UNKNOWN"}'));
    const by = caller();
    const other = question(1, '7F00000100001F900000000000005002');
    for (const check of [question(1), question(1), question(2), other]) await ask(bank.url, by, check);
    const [first, again, second, third] = bank.asked.map(({ headers }) => headers['webhook-id']);
    expect(again).toBe(first);
    expect(new Set([first, second, third]).size).toBe(3);
    for (const { headers, body } of bank.asked) expect(await verified(headers, body)).toBe(true);
  });
});

describe('an answer', () => {
  test.each(['COMMIT', 'ROLLBACK', 'UNKNOWN'])('%s', async (resolution) => {
    const bank = await producer(says(JSON.stringify({ resolution, more: 1 })));
    expect(await ask(bank.url)).toBe(resolution);
  });

  test.each([201, 202, 299])('of status %d counts', async (status) => {
    const bank = await producer(says('{"resolution":"COMMIT"}', status));
    expect(await ask(bank.url)).toBe('COMMIT');
  });

  test.each([
    [400, 'it answered 400'],
    [404, 'it answered 404'],
    [410, 'it answered 410'],
    [500, 'it answered 500'],
    [304, 'it answered 304'],
  ])('of status %d is none', async (status, words) => {
    const bank = await producer(says(status === 304 ? '' : '{"resolution":"COMMIT"}', status));
    await expect(ask(bank.url)).rejects.toThrow(words);
  });

  test.each([
    ['nothing', ''],
    ['text', 'COMMIT'],
    ['half of it', '{"resolution":"COMM'],
    ['JSON without a resolution', '{"ok":true}'],
    ['another word', '{"resolution":"COMMITTED"}'],
    ['small letters', '{"resolution":"commit"}'],
    ['a list', '{"resolution":["COMMIT"]}'],
    ['null', 'null'],
    ['a string', '"COMMIT"'],
    ['what is no UTF-8', Buffer.from([0x7b, 0xff, 0x7d]).toString('latin1')],
    ['what is nested too deep', '['.repeat(5000)],
  ])('that is %s is none', async (_, body) => {
    const bank = await producer((response) => response.end(Buffer.from(body, 'latin1')));
    await expect(ask(bank.url)).rejects.toThrow();
  });

  test.each([
    ['at once', says(' '.repeat(16 * 1024 + 1))],
    ['without end', pour],
  ])('of more than 16 KiB, %s, is not read', async (_, answer) => {
    const bank = await producer(answer);
    await expect(ask(bank.url)).rejects.toThrow(/exceeded|terminated|aborted|size/i);
  });

  test('that leads elsewhere is not followed', async () => {
    const other = await producer(says('{"resolution":"COMMIT"}'));
    for (const status of [301, 302, 303, 307, 308]) {
      const bank = await producer((response) => response.writeHead(status, { location: other.url }).end());
      await expect(ask(bank.url)).rejects.toThrow(`it answered ${status}`);
      expect(bank.asked).toHaveLength(1);
    }
    expect(other.asked).toEqual([]);
  });

  test('is waited for ten seconds, and no longer', async () => {
    const bank = await producer(() => undefined);
    const asked = ask(bank.url);
    const failed = expect(asked).rejects.toThrow('no answer within 10000 ms');
    await bank.arrival;
    await clock.advance(9_999);
    expect(clock.pendingTimers).toBe(1);
    await clock.advance(1);
    await failed;
  });

  test('that begins and does not end is waited for no longer either', async () => {
    let begun: () => void = () => undefined;
    const beginning = new Promise<void>((resolve) => (begun = resolve));
    const bank = await producer((response) => void response.write('{"resolution":', () => begun()));
    const failed = expect(ask(bank.url)).rejects.toThrow('no answer within 10000 ms');
    await beginning;
    await clock.advance(10_000);
    await failed;
  });

  test('that breaks off is none', async () => {
    const bank = await producer((response) => response.socket!.destroy());
    await expect(ask(bank.url)).rejects.toThrow();
  });

  test('of nobody is none', async () => {
    const bank = await producer(says(''));
    const { url } = bank;
    await opened.shift()!.stop!();
    await expect(ask(url)).rejects.toThrow('ECONNREFUSED');
  });

  test('that has not come when the broker stops never comes', async () => {
    const bank = await producer(() => undefined);
    const by = caller();
    const failed = expect(ask(bank.url, by)).rejects.toThrow();
    await bank.arrival;
    await by.close();
    await failed;
  });
});

describe('without leave of the operator', () => {
  const REFUSED = expect.objectContaining({ code: 'WEBHOOK_REFUSED' }) as unknown;

  /** As if a name led there. */
  const leadsTo = (...addresses: string[]): void => {
    const found = addresses.map((address) => ({ address, family: 4 }));
    const lookup = (_: string, __: object, done: (error: null, found: object[]) => void) => done(null, found);
    jest.spyOn(dns, 'lookup').mockImplementation(lookup as never);
  };

  test('this machine is not asked, by address or by name', async () => {
    const bank = await producer(says('{"resolution":"COMMIT"}'));
    leadsTo('127.0.0.1');
    const by = caller('public');
    for (const host of ['127.0.0.1', '[::ffff:127.0.0.1]', '2130706433', 'localhost', 'bank.example']) {
      const webhook = { url: `http://${host}:${bank.port}/`, secret: SECRET };
      await expect(by.check(webhook)).rejects.toEqual(REFUSED);
      await expect(by.ask(webhook, question())).rejects.toEqual(REFUSED);
    }
    expect(bank.asked).toEqual([]);
  });

  test('with it, it is', async () => {
    const bank = await producer(says('{"resolution":"COMMIT"}'));
    leadsTo('127.0.0.1');
    const by = caller('any');
    for (const host of ['127.0.0.1', 'localhost', 'bank.example']) {
      const webhook = { url: `http://${host}:${bank.port}/`, secret: SECRET };
      await by.check(webhook);
      expect(await by.ask(webhook, question())).toBe('COMMIT');
    }
    expect(bank.asked).toHaveLength(3);
  });

  test('who sets a webhook waits two seconds for its name at most', async () => {
    jest.spyOn(dns, 'lookup').mockImplementation(() => undefined);
    const checked = caller('public').check({ url: 'https://bank.example/', secret: SECRET });
    await clock.advance(2000);
    await checked;
  });
});
