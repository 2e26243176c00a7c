/** What is written of a message is read as the same message. */
import fc from 'fast-check';
import { fromWire } from '../../api/messageBodies';
import { toWire } from '../../api/wireMessage';
import { contentHash } from '../../src/broker/sender';
import { normalTag } from '../../src/broker/tag';
import type { OutgoingMessage } from '../../src/broker/message';

const optional = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }).filter((one) => one.isWellFormed());
const name = fc.string({ minLength: 1, maxLength: 20 }).filter((one) => /^[a-z]/.test(one));
const delay: fc.Arbitrary<Partial<OutgoingMessage>> = fc.oneof(
  fc.nat().map((delayMs) => ({ delayMs })),
  fc.integer({ min: 1e12, max: 2e12 }).map((deliverAt) => ({ deliverAt })),
  name.map((messageGroup) => ({ messageGroup })),
  fc.constant({}),
);

const described = fc.record({
  contentType: optional(name),
  tag: optional(name.filter((one) => !one.includes('|')).map(normalTag)),
  keys: optional(fc.array(name, { maxLength: 3 })),
  properties: optional(fc.dictionary(name, text, { maxKeys: 3, noNullPrototype: true })),
  messageId: optional(fc.constant('7F00000104D22A6F9C310005A2B40001')),
  queue: optional(fc.record({ broker: name, queueId: fc.nat(65_535) })),
});
const body: fc.Arbitrary<OutgoingMessage> = fc.oneof(
  text.map((one) => ({ body: one, text: true })),
  text.map((one) => ({ body: Buffer.from(one), text: true })),
  fc.uint8Array({ minLength: 1, maxLength: 60 }).map((one) => ({ body: Buffer.from(one), text: false })),
);
const anyMessage = fc
  .tuple(described, body, delay)
  .map(([attributes, content, due]): OutgoingMessage => ({ ...attributes, ...content, ...due }));

/** Text is the same, as a string or as its bytes. */
const plain = ({ body: content, ...message }: OutgoingMessage) => ({
  ...Object.fromEntries(Object.entries(message).filter(([, value]) => value !== undefined)),
  bytes: Buffer.from(content).toString('hex'),
});

test('any message', () => {
  fc.assert(
    fc.property(anyMessage, (message) => {
      const wire = JSON.parse(JSON.stringify(toWire(message))) as ReturnType<typeof toWire>;
      const read = fromWire(wire, 0, 0);
      expect(plain(read)).toEqual(plain(message));
    }),
    { verbose: true },
  );
});

test('JSON, and a level of delay, become what they stand for; a key counts them as the same content', () => {
  const read = fromWire({ bodyJson: { a: [1, 'ü'] }, delayLevel: 3, tag: 't' }, 0, 0, '{"a":[1.0,"ü"]}');
  const again = fromWire(toWire(read), 0, 0);
  expect(again).toEqual(read);
  expect(toWire(read)).toEqual({ body: '{"a":[1.0,"ü"]}', contentType: 'application/json', tag: 't', delayMs: 10_000 });
  expect(contentHash([again])).toBe(contentHash([read]));
});
