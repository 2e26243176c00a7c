/** Which of two processes that use one broker name a NameServer takes: by folder, by epoch, and by who is heard. */
import { RouteTable, type TableChange } from '../../src/nameserver/routeTable';
import type { Registration } from '../../src/nameserver/route';
import { ManualClock } from '../support/clock';
import { changes, codeOf, full, heartbeat, topic } from './registrations';

const FOLDER = 'a'.repeat(32);
const OTHER = 'b'.repeat(32);
const SILENCE_MS = 120_001;

function setup() {
  const clock = new ManualClock();
  const reported: TableChange[] = [];
  const table = new RouteTable(clock, { report: (change) => reported.push(change) });
  const register = (registration: Registration, brokerId = 1) => table.register('c', 'a', brokerId, registration);
  const refused = (registration: Registration, brokerId = 1) => codeOf(() => register(registration, brokerId));
  const address = () => table.route('orders')?.brokers[0]?.addresses['0'];
  const kinds = () => reported.map(({ kind }) => kind);
  return { clock, table, register, refused, address, kinds };
}

const claim = (but: Partial<Registration> = {}) => full([topic('orders')], { folderId: FOLDER, ...but });
const elsewhere = { address: 'b:8080' };
const stranger = claim({ ...elsewhere, folderId: OTHER, epoch: 9 });

describe('another folder', () => {
  test.each([
    ['at another address', stranger, 1],
    ['at the same address', claim({ folderId: OTHER, epoch: 9 }), 1],
    ['as another member of the group', stranger, 2],
    ['by a heartbeat', heartbeat(stranger), 1],
    ['by changes', changes(stranger, {}), 1],
  ])('%s is refused while the one that is registered is heard, whatever its epoch', async (_case, other, brokerId) => {
    const { clock, register, refused, address } = setup();
    register(claim());
    for (let i = 0; i < 10; i++) {
      expect(refused(other, brokerId)).toBe('REGISTRATION_CONFLICT');
      expect(register(heartbeat(claim())).known).toBe(true);
      await clock.advance(30_000);
    }
    expect(address()).toBe('a:8080');
  });

  test('the refusal says which folder lives where, and the answer to that one tells of the claim', async () => {
    const { clock, register, kinds } = setup();
    register(claim());
    expect(() => register(stranger)).toThrow(
      'Broker a is registered from a:8080 with another data folder, and lives. Two brokers cannot share a name',
    );
    const told = { address: 'b:8080', timestamp: clock.now() };
    expect(register(heartbeat(claim())).refusedClaim).toEqual(told);
    expect(kinds()).toEqual(['REGISTERED', 'REFUSED']);
    // Repeated attempts are one change; a minute after the last one it is over.
    await clock.advance(5000);
    expect(() => register(stranger)).toThrow();
    expect(kinds()).toEqual(['REGISTERED', 'REFUSED']);
    await clock.advance(60_001);
    expect(register(heartbeat(claim())).refusedClaim).toBeUndefined();
  });

  test('is taken once the other one has left, or was silent for too long', async () => {
    const { clock, table, register, refused, address } = setup();
    register(claim());
    table.unregister('c', 'a', 1, 'a:8080');
    expect(refused(stranger)).toBe('none');
    expect(address()).toBe('b:8080');
    expect(refused(claim())).toBe('REGISTRATION_CONFLICT');
    await clock.advance(SILENCE_MS);
    expect(refused(claim())).toBe('none');
    expect(address()).toBe('a:8080');
  });

  test('brokers that do not tell their folder are judged by their epochs, as before', () => {
    const { register, refused } = setup();
    register(full([topic('orders')], { epoch: 2 }));
    expect(refused(claim({ ...elsewhere, epoch: 3 }))).toBe('none');
    expect(refused(full([], { epoch: 2 }))).toBe('REGISTRATION_CONFLICT');
  });
});

describe('the same folder', () => {
  test('after a kill, at another address with the next epoch: taken at once', () => {
    const { register, refused, address } = setup();
    register(claim());
    expect(refused(claim({ ...elsewhere, epoch: 2 }))).toBe('none');
    expect(address()).toBe('b:8080');
  });

  test('the process that was replaced is heard again: it gets its place back, and the copy is refused', async () => {
    const { clock, register, refused, address } = setup();
    register(claim());
    const copy = claim({ ...elsewhere, epoch: 2 });
    register(copy);
    await clock.advance(30_000);
    expect(register(heartbeat(claim()))).toMatchObject({ known: false });
    expect(register(claim()).known).toBe(true);
    expect(address()).toBe('a:8080');
    expect(() => register(heartbeat(copy))).toThrow('one of the two runs from a copy');
    // Also after its restart.
    expect(refused(claim({ ...elsewhere, epoch: 3 }))).toBe('REGISTRATION_CONFLICT');
    expect(register(heartbeat(claim())).refusedClaim).toMatchObject(elsewhere);
    // The one that was there first restarts, here or somewhere else.
    expect(refused(claim({ epoch: 2 }))).toBe('none');
    expect(refused(claim({ ...elsewhere, epoch: 4 }))).toBe('REGISTRATION_CONFLICT');
    expect(refused(claim({ address: 'd:8080', epoch: 3 }))).toBe('none');
  });

  test('one that was silent for too long does not come back', async () => {
    const { clock, register, refused } = setup();
    register(claim());
    const next = claim({ ...elsewhere, epoch: 2 });
    await clock.advance(100_000);
    register(next);
    await clock.advance(SILENCE_MS - 100_000);
    expect(refused(claim())).toBe('REGISTRATION_CONFLICT');
  });

  test('in the same epoch at two addresses: the later one is a copy', () => {
    const { register, refused, address } = setup();
    register(claim());
    expect(refused(claim(elsewhere))).toBe('REGISTRATION_CONFLICT');
    expect(address()).toBe('a:8080');
  });

  test('members of one group share it', () => {
    const { register, refused } = setup();
    register(claim());
    expect(refused(claim({ ...elsewhere, role: 'SLAVE' }), 2)).toBe('none');
  });
});
