/** Handles of leased messages: what we made for a group says what it says, everything else says nothing. */
import fc from 'fast-check';
import { brokerMark, brokerMarkOf, ReceiptCodec, type Receipt, type ReceiptOwner } from '../../src/broker/receipts';

const SECRET = Buffer.alloc(32, 7);
const NUMBER = fc.nat({ max: 2 ** 48 - 1 });
const RECEIPT: fc.Arbitrary<Receipt> = fc.record({
  topic: NUMBER,
  queueId: fc.nat({ max: 0xffff }),
  lease: NUMBER,
  offset: NUMBER,
});

const CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
/** Where the message's offset begins, behind what is signed, and the mac behind it; in bytes. */
const OFFSET_AT = 28;
const MAC_AT = 34;
const BYTES = 48;
const LENGTH = 64;

const GROUP: ReceiptOwner = { no: 5, name: 'billing' };
const INVALID = { code: 'RECEIPT_INVALID' };
const codec = (secret = SECRET) => new ReceiptCodec(secret, 'broker-a');
const sample: Receipt = { topic: 3, queueId: 1, lease: 77, offset: 12 };

test('says to its group what was put into it, also to another codec of the same secret', () => {
  fc.assert(
    fc.property(NUMBER, RECEIPT, (no, receipt) => {
      const group = { no, name: 'billing' };
      const handle = codec().encode(group, receipt);
      expect(handle).toMatch(/^[A-Za-z0-9_-]{1,512}$/);
      expect(codec().decode(group, handle)).toEqual(receipt);
    }),
  );
});

test('says nothing to another group, and to one made again under the name that it is of the former', () => {
  fc.assert(
    fc.property(NUMBER, NUMBER, RECEIPT, (no, other, receipt) => {
      fc.pre(no !== other);
      const handle = codec().encode({ no, name: 'billing' }, receipt);
      expect(codec().decode({ no: other, name: 'shipping' }, handle)).toMatchObject(INVALID);
      expect(codec().decode({ no, name: 'shipping' }, handle)).toMatchObject(INVALID);
      expect(codec().decode({ no: other, name: 'billing' }, handle)).toMatchObject({ code: 'TOPIC_RECREATED' });
    }),
  );
});

test('one that only claims to be of the former group is forged', () => {
  const bytes = Buffer.from(codec().encode(GROUP, sample), 'base64url');
  bytes.writeUIntBE(GROUP.no - 1, 1, 6);
  expect(codec().decode(GROUP, bytes.toString('base64url'))).toMatchObject(INVALID);
});

test('says nothing under another secret', () => {
  fc.assert(
    fc.property(NUMBER, RECEIPT, (no, receipt) => {
      const handle = codec().encode({ no, name: 'billing' }, receipt);
      for (const group of [no, no + 1]) {
        const said = codec(Buffer.alloc(32, 8)).decode({ no: group, name: 'billing' }, handle);
        expect(said).toMatchObject(INVALID);
      }
    }),
  );
});

test('changed in one character it says nothing, unless that is in the offset: then it is another message of the lease', () => {
  const one = codec();
  fc.assert(
    fc.property(RECEIPT, fc.nat({ max: LENGTH - 1 }), fc.nat({ max: 63 }), (receipt, at, character) => {
      const handle = one.encode(GROUP, receipt);
      const changed = `${handle.slice(0, at)}${CHARACTERS[character]!}${handle.slice(at + 1)}`;
      fc.pre(changed !== handle);
      const said = one.decode(GROUP, changed);
      const [before, after] = [handle, changed].map((text) => {
        const bytes = Buffer.from(text, 'base64url');
        return Buffer.concat([bytes.subarray(0, OFFSET_AT), bytes.subarray(MAC_AT)]);
      });
      if (!before!.equals(after!)) expect(said).toMatchObject(INVALID);
      else expect({ ...said, offset: receipt.offset }).toEqual(receipt);
    }),
  );
});

test('cut, made longer, or written with what base64url passes over, it says nothing', () => {
  const handle = codec().encode(GROUP, sample);
  for (let length = 0; length < handle.length; length++) {
    expect(codec().decode(GROUP, handle.slice(0, length))).toMatchObject(INVALID);
    expect(codec().decode(GROUP, handle.slice(length + 1))).toMatchObject(INVALID);
  }
  for (const more of ['A', '=', ' ', '\n', 'AAAA', '!']) {
    expect(codec().decode(GROUP, handle + more)).toMatchObject(INVALID);
    expect(codec().decode(GROUP, more + handle)).toMatchObject(INVALID);
  }
  expect(codec().decode(GROUP, `${handle.slice(0, LENGTH - 1)}é`)).toMatchObject(INVALID);
});

test('what somebody makes up says nothing', () => {
  const one = codec();
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.base64String(), fc.string({ minLength: LENGTH, maxLength: LENGTH })),
      (handle) => {
        expect(one.decode(GROUP, handle)).toMatchObject(INVALID);
      },
    ),
  );
  const made = (version: number) => Buffer.from([version, ...Array<number>(BYTES - 1).fill(0)]).toString('base64url');
  const zero = { no: 0, name: '' }; // whose name's crc is 0
  for (const version of [1, 2, 3, 4]) expect(one.decode(zero, made(version))).toMatchObject(INVALID);
});

test('says which broker made it, and only that broker takes it', () => {
  const handle = new ReceiptCodec(SECRET, 'broker-b').encode(GROUP, sample);
  expect(brokerMarkOf(handle)).toBe(brokerMark('broker-b'));
  expect(brokerMarkOf(codec().encode(GROUP, sample))).toBe(brokerMark('broker-a'));
  // Even if two of them had one secret.
  expect(codec().decode(GROUP, handle)).toMatchObject(INVALID);
  for (const other of ['', 'AAAA', handle.slice(1), `${handle}A`]) expect(brokerMarkOf(other)).toBeUndefined();
});

test('of another version it says nothing', () => {
  const bytes = Buffer.from(codec().encode(GROUP, sample), 'base64url');
  bytes[0] = 2;
  expect(codec().decode(GROUP, bytes.toString('base64url'))).toMatchObject(INVALID);
});

test('is right however many came between: the macs that are kept are bounded', () => {
  const one = codec();
  const handle = one.encode(GROUP, sample);
  const last: string[] = [];
  for (let lease = 1; lease <= 12_000; lease++) {
    const other = one.encode(GROUP, { ...sample, lease });
    if (lease > 11_995) last.push(other);
  }
  expect(one.decode(GROUP, handle)).toEqual(sample);
  for (const [i, other] of last.entries()) expect(one.decode(GROUP, other)).toEqual({ ...sample, lease: 11_996 + i });
});
