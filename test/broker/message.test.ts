/** A message in the journal: what goes in comes out, and what filters and the index need stands where they look. */
import fc from 'fast-check';
import { RECORD_HEADER_BYTES, sealRecord } from '../../storage/record';
import { messageGroupHash, tagHash } from '../../src/broker/hash';
import {
  copyMessage,
  decodeMessage,
  encodeMessage,
  keyedSendOf,
  messageAttempt,
  MESSAGE_OVERHEAD_BYTES,
  messageGroupHashOf,
  messageIdOf,
  messageQueueId,
  messageTag,
  messageTagHash,
  messageTopic,
  type OutgoingMessage,
} from '../../src/broker/message';

const ID = Buffer.from('C0A8034D1267DEADBEEF010203040A0B', 'hex');
const TO = { topic: 17, queueId: 3, messageId: ID, bornTimestamp: 1_767_000_000_123 };

/** As the journal stores it. */
function roundTrip(message: OutgoingMessage, to = TO) {
  const record = encodeMessage(message, to);
  sealRecord(record, { position: 5 * 1024 + 2, time: 1_767_000_000_456, epoch: 9, kind: 2, count: 3 });
  return { record, decoded: decodeMessage(record) };
}

const unicode = fc.string({ unit: 'binary', maxLength: 40 });
const wellFormed = unicode.filter((text) => text.isWellFormed());
const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });

const anyMessage: fc.Arbitrary<OutgoingMessage> = fc.record({
  body: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  text: fc.boolean(),
  contentType: optional(wellFormed),
  tag: optional(wellFormed.filter((tag) => tag !== '')),
  keys: optional(fc.array(wellFormed, { maxLength: 4 })),
  properties: optional(fc.dictionary(wellFormed, wellFormed, { maxKeys: 5, noNullPrototype: true })),
  messageGroup: optional(wellFormed),
});

const anyAddress = fc.record({
  topic: fc.integer({ min: 1, max: 2 ** 43 }),
  queueId: fc.integer({ min: 0, max: 1023 }),
  bornTimestamp: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
});

test('any message comes out as it went in', () => {
  fc.assert(
    fc.property(anyMessage, anyAddress, (message, address) => {
      const { decoded, record } = roundTrip(message, { ...address, messageId: ID });
      expect(decoded).toEqual({
        ...message,
        ...address,
        messageId: ID,
        position: 5 * 1024 + 2,
        storeTimestamp: 1_767_000_000_456,
        body: message.body,
        ...{ attempt: 1, origin: undefined, reason: undefined },
      });
      expect(messageTopic(record)).toBe(address.topic);
      expect(messageQueueId(record)).toBe(address.queueId);
      expect(messageTag(record)).toBe(message.tag);
      expect(messageIdOf(record).equals(ID)).toBe(true);
    }),
  );
});

test('a message of all fields', () => {
  const message: OutgoingMessage = {
    body: Buffer.from('Größe: 42 €'),
    text: true,
    contentType: 'text/plain; charset=utf-8',
    tag: 'größe',
    keys: ['order-1', 'kunde "7"'],
    properties: { region: 'eu', __proto__name: 'x', leer: '' },
    messageGroup: 'kunde-😀',
  };
  const { record, decoded } = roundTrip(message);
  expect(decoded).toMatchObject({ ...message, topic: 17, queueId: 3, bornTimestamp: 1_767_000_000_123 });
  expect(messageTagHash(record)).toBe(tagHash('größe'));
  expect(messageGroupHashOf(record)).toBe(messageGroupHash('kunde-😀'));
  expect(keyedSendOf(record)).toBeUndefined();
});

test('a bare message costs its body and the fixed part alone', () => {
  const { record, decoded } = roundTrip({ body: Buffer.from('x'), text: false });
  expect(record.length).toBe(MESSAGE_OVERHEAD_BYTES + 1);
  expect(MESSAGE_OVERHEAD_BYTES).toBe(RECORD_HEADER_BYTES + 47);
  expect(decoded).toMatchObject({
    tag: undefined,
    keys: undefined,
    properties: undefined,
    contentType: undefined,
    messageGroup: undefined,
    text: false,
  });
  expect(messageTagHash(record)).toBe(0);
  expect(messageGroupHashOf(record)).toBe(0);
});

test('a property called __proto__ is a property like any other', () => {
  const properties = JSON.parse('{"__proto__":"x","constructor":"y"}') as Record<string, string>;
  const { decoded } = roundTrip({ body: Buffer.from('x'), text: true, properties });
  expect(Object.entries(decoded.properties!)).toEqual([
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ]);
});

test('a body of 4 MiB comes out whole', () => {
  const body = Buffer.alloc(4 << 20, 'gantry');
  const { decoded } = roundTrip({ body, text: false, tag: 'big' });
  expect(decoded.body.equals(body)).toBe(true);
});

test('a body is not copied when it is read', () => {
  const { record, decoded } = roundTrip({ body: Buffer.alloc(10_000, 1), text: false });
  expect(decoded.body.buffer).toBe(record.buffer);
});

test('the first message of a keyed send carries its key, next to what else it has', () => {
  const keyed = { key: 'a2V5', content: 'aGFzaA==', items: [0, -1, ['AB', 1, 7, 2048, 1_767_000_000_000]] } as const;
  const record = encodeMessage({ body: Buffer.from('x'), text: true, keys: ['k'] }, { ...TO, keyed });
  expect(keyedSendOf(record)).toEqual(keyed);
  expect(decodeMessage(record).keys).toEqual(['k']);
});

describe('a copy', () => {
  const anyNumber = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
  const anyOrigin = fc.record({
    topic: wellFormed,
    queueId: fc.integer({ min: 0, max: 1023 }),
    queueOffset: anyNumber,
    position: anyNumber,
    storeTimestamp: anyNumber,
  });
  const anyCopy = fc.record({
    topic: fc.integer({ min: 1, max: 2 ** 43 }),
    queueId: fc.integer({ min: 0, max: 1023 }),
    attempt: fc.integer({ min: 1, max: 1001 }),
    origin: anyOrigin,
    reason: optional(wellFormed),
  });
  const keyed = { key: 'a2V5', content: 'aGFzaA==', items: [0, -1] };
  const seal = (record: Buffer, position: number) =>
    sealRecord(record, { position, time: 1_767_000_099_000, epoch: 9, kind: 16, count: 2 });

  test('of any message, and the copy of the copy, is the message with its place, attempt, origin and reason', () => {
    fc.assert(
      fc.property(
        anyMessage,
        anyAddress,
        fc.boolean(),
        anyCopy,
        anyCopy,
        (message, address, withKey, first, second) => {
          const record = encodeMessage(message, { ...address, messageId: ID, ...(withKey ? { keyed } : {}) });
          sealRecord(record, { position: 7 * 1024, time: 1_767_000_000_456, epoch: 9, kind: 2, count: 1 });
          const before = Buffer.from(record);
          const once = copyMessage(record, first);
          seal(once, 9 * 1024 + 1);
          const twice = copyMessage(once, second);
          seal(twice, 11 * 1024 + 1);
          for (const [copy, to, position] of [
            [once, first, 9 * 1024 + 1],
            [twice, second, 11 * 1024 + 1],
          ] as const) {
            const { bornTimestamp } = address;
            const stored = { position, storeTimestamp: 1_767_000_099_000 };
            expect(decodeMessage(copy)).toEqual({ ...message, messageId: ID, bornTimestamp, ...stored, ...to });
            expect(messageAttempt(copy)).toBe(to.attempt);
            expect([messageTopic(copy), messageQueueId(copy)]).toEqual([to.topic, to.queueId]);
            expect(messageTag(copy)).toBe(message.tag);
            expect(messageTagHash(copy)).toBe(messageTagHash(record));
            expect(messageGroupHashOf(copy)).toBe(messageGroupHashOf(record));
            // It was no keyed send: its answer is remembered already.
            expect(keyedSendOf(copy)).toBeUndefined();
          }
          expect(record.equals(before)).toBe(true);
        },
      ),
    );
  });

  test('shares no bytes with what it was made of', () => {
    const { record } = roundTrip({ body: Buffer.from('body'), text: true, tag: 'red' });
    const origin = { topic: 'orders', queueId: 0, queueOffset: 1, position: 2, storeTimestamp: 3 };
    const copy = copyMessage(record, { ...TO, attempt: 1, origin });
    record.fill(0xff);
    expect(decodeMessage(copy)).toMatchObject({ tag: 'red', body: Buffer.from('body'), attempt: 1, origin });
  });
});
