/** The layout of messageIds, byte by byte, and that no two are alike. */
import { hexOf, ipv4Bytes, MessageIds } from '../../src/base/messageId';
import { seededChance } from '../support/broker';
import { ManualClock } from '../support/clock';

function setup({ now = Date.UTC(2026, 6, 4, 12), address = '192.168.3.77', pid = 4711, counter = 0 } = {}) {
  const clock = new ManualClock(now);
  const chance = { bytes: () => Buffer.from([0xde, 0xad, 0xbe, 0xef]), below: () => counter };
  const ids = new MessageIds({ clock, chance, address, pid });
  const make = (count: number) => {
    const bytes = ids.write(count);
    return Array.from({ length: count }, (_, i) => bytes.subarray(i * 16, i * 16 + 16));
  };
  return { clock, make };
}

const sinceMonth = (id: Buffer) => id.readUInt32BE(10);
const counterOf = (id: Buffer) => id.readUInt16BE(14);

describe('a messageId', () => {
  test('is address, process, mark, milliseconds of the month and counter, in upper-case hex', () => {
    const [id] = setup({ now: Date.UTC(2026, 6, 1) + 0x01020304, counter: 0x0a0b }).make(1);
    expect(hexOf(id!)).toBe('C0A8034D' + '1267' + 'DEADBEEF' + '01020304' + '0A0B');
  });

  test('of a process id over 16 bits has its low ones', () => {
    const [id] = setup({ pid: 0x1_2345 }).make(1);
    expect(id!.readUInt16BE(4)).toBe(0x2345);
  });

  test.each(['::1', 'localhost', '1.2.3', '1.2.3.256', '1.2.3.x', ''])(
    'of a host called %j has the address 127.0.0.1',
    (address) => {
      expect([...ipv4Bytes(address)]).toEqual([127, 0, 0, 1]);
      expect([...setup({ address }).make(1)[0]!.subarray(0, 4)]).toEqual([127, 0, 0, 1]);
    },
  );

  test('of one call shares the millisecond and counts up', () => {
    const ids = setup({ counter: 7 }).make(4);
    expect(ids.map(counterOf)).toEqual([7, 8, 9, 10]);
    expect(new Set(ids.map(sinceMonth)).size).toBe(1);
  });

  test('goes on counting behind 65535 from 0', () => {
    expect(setup({ counter: 0xfffe }).make(4).map(counterOf)).toEqual([0xfffe, 0xffff, 0, 1]);
  });

  test('counts on from call to call, also when the millisecond changes', async () => {
    const { clock, make } = setup();
    expect(make(2).map(counterOf)).toEqual([0, 1]);
    await clock.advance(5);
    expect(make(1).map(counterOf)).toEqual([2]);
  });
});

describe('the milliseconds of the month', () => {
  test('begin again with each month, in UTC', async () => {
    const { clock, make } = setup({ now: Date.UTC(2026, 1, 1) - 1 });
    expect(sinceMonth(make(1)[0]!)).toBe(31 * 86_400_000 - 1);
    await clock.advance(1);
    expect(sinceMonth(make(1)[0]!)).toBe(0);
    await clock.advance(28 * 86_400_000);
    expect(sinceMonth(make(1)[0]!)).toBe(0);
  });

  test('are right in December and after New Year', async () => {
    const { clock, make } = setup({ now: Date.UTC(2026, 11, 31, 23, 59, 59, 999) });
    expect(sinceMonth(make(1)[0]!)).toBe(31 * 86_400_000 - 1);
    await clock.advance(1);
    expect(sinceMonth(make(1)[0]!)).toBe(0);
  });

  test('are right when the clock is set back into the month before', () => {
    const { clock, make } = setup({ now: Date.UTC(2026, 6, 1, 1) });
    expect(sinceMonth(make(1)[0]!)).toBe(3_600_000);
    clock.jumpTo(Date.UTC(2026, 5, 30));
    expect(sinceMonth(make(1)[0]!)).toBe(29 * 86_400_000);
  });
});

test('two processes of one host with the same pid do not make the same ids', () => {
  const clock = new ManualClock();
  const idsOf = (seed: number) =>
    hexOf(new MessageIds({ clock, chance: seededChance(seed), address: '10.0.0.1', pid: 1 }).write(1));
  expect(idsOf(1)).not.toBe(idsOf(2));
});
