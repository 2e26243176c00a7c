/** Handles of leased messages: what we made for a group says what it says, everything else says nothing. */
import fc from 'fast-check';
import { ReceiptCodec, type Receipt } from '../../src/broker/receipts';

const SECRET = Buffer.alloc(32, 7);
const NUMBER = fc.nat({ max: 2 ** 48 - 1 });
const RECEIPT: fc.Arbitrary<Receipt> = fc.record({
  topic: NUMBER,
  queueId: fc.nat({ max: 0xffff }),
  lease: NUMBER,
  offset: NUMBER,
});

const CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
/** First character of what is signed, and of the mac; the message's offset lies between. */
const OFFSET_AT = 28;
const MAC_AT = 36;

const codec = (secret = SECRET) => new ReceiptCodec(secret);
const sample: Receipt = { topic: 3, queueId: 1, lease: 77, offset: 12 };

test('says to its group what was put into it, also to another codec of the same secret', () => {
  fc.assert(
    fc.property(NUMBER, RECEIPT, (group, receipt) => {
      const handle = codec().encode(group, receipt);
      expect(handle).toMatch(/^[A-Za-z0-9_-]{1,512}$/);
      expect(codec().decode(group, handle)).toEqual(receipt);
    }),
  );
});

test('says nothing to another group', () => {
  fc.assert(
    fc.property(NUMBER, NUMBER, RECEIPT, (group, other, receipt) => {
      fc.pre(group !== other);
      expect(codec().decode(other, codec().encode(group, receipt))).toBeUndefined();
    }),
  );
});

test('says nothing under another secret', () => {
  fc.assert(
    fc.property(NUMBER, RECEIPT, (group, receipt) => {
      expect(codec(Buffer.alloc(32, 8)).decode(group, codec().encode(group, receipt))).toBeUndefined();
    }),
  );
});

test('changed in one character it says nothing, unless that is in the offset: then it is another message of the lease', () => {
  const one = codec();
  fc.assert(
    fc.property(RECEIPT, fc.nat({ max: 51 }), fc.nat({ max: 63 }), (receipt, at, character) => {
      const handle = one.encode(5, receipt);
      const changed = `${handle.slice(0, at)}${CHARACTERS[character]!}${handle.slice(at + 1)}`;
      fc.pre(changed !== handle);
      const said = one.decode(5, changed);
      if (at < OFFSET_AT || at >= MAC_AT) expect(said).toBeUndefined();
      else expect({ ...said, offset: receipt.offset }).toEqual(receipt);
    }),
  );
});

test('cut, made longer, or written with what base64url passes over, it says nothing', () => {
  const handle = codec().encode(5, sample);
  for (let length = 0; length < handle.length; length++) {
    expect(codec().decode(5, handle.slice(0, length))).toBeUndefined();
    expect(codec().decode(5, handle.slice(length + 1))).toBeUndefined();
  }
  for (const more of ['A', '=', ' ', '\n', 'AAAA', '!']) {
    expect(codec().decode(5, handle + more)).toBeUndefined();
    expect(codec().decode(5, more + handle)).toBeUndefined();
  }
  expect(codec().decode(5, `${handle.slice(0, 51)}é`)).toBeUndefined();
});

test('what somebody makes up says nothing', () => {
  const one = codec();
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.base64String(), fc.string({ minLength: 52, maxLength: 52 })), (handle) => {
      expect(one.decode(5, handle)).toBeUndefined();
    }),
  );
  const made = (version: number) => Buffer.from([version, ...Array<number>(38).fill(0)]).toString('base64url');
  expect(one.decode(0, made(1))).toBeUndefined();
  expect(one.decode(0, made(2))).toBeUndefined();
});

test('of another version it says nothing', () => {
  const bytes = Buffer.from(codec().encode(5, sample), 'base64url');
  bytes[0] = 2;
  expect(codec().decode(5, bytes.toString('base64url'))).toBeUndefined();
});

test('is right however many came between: the macs that are kept are bounded', () => {
  const one = codec();
  const handle = one.encode(5, sample);
  const last: string[] = [];
  for (let lease = 1; lease <= 12_000; lease++) {
    const other = one.encode(5, { ...sample, lease });
    if (lease > 11_995) last.push(other);
  }
  expect(one.decode(5, handle)).toEqual(sample);
  for (const [i, other] of last.entries()) expect(one.decode(5, other)).toEqual({ ...sample, lease: 11_996 + i });
});
