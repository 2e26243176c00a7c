import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ACKED_SLOT_BYTES, ACKED_SLOTS, AckedFile } from '../../storage/ackedFile';
import { ManualClock } from '../support/clock';

describe('the file of what was acknowledged', () => {
  let folder: string;
  let path: string;
  let clock: ManualClock;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gantry-acked-'));
    path = join(folder, 'acked');
    clock = new ManualClock();
    AckedFile.create(path);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const open = () => AckedFile.open(path, clock);
  async function reopened() {
    const file = open();
    await file.close();
    return file.last;
  }

  /** Changes one byte of a slot. */
  function garble(slot: number, byte: number) {
    const bytes = readFileSync(path);
    bytes[slot * ACKED_SLOT_BYTES + byte]! ^= 0x10;
    writeFileSync(path, bytes);
  }

  it('is new with nothing acknowledged, which is not the same as unreadable', async () => {
    expect(await reopened()).toEqual({ index: 0, epoch: 0, recordCrc: 0 });
  });

  it('remembers the last mark without a close, as after a kill', async () => {
    const file = open();
    file.mark(5, 1, 111);
    file.mark(9, 2, 222);
    expect(await reopened()).toEqual({ index: 9, epoch: 2, recordCrc: 222 });
    await file.close();
  });

  it('goes around its ring again and again', async () => {
    const file = open();
    for (let index = 1; index <= 2.5 * ACKED_SLOTS; index++) file.mark(index, 1, index);
    await file.close();
    expect(statSync(path).size).toBe(ACKED_SLOTS * ACKED_SLOT_BYTES);
    expect((await reopened())!.index).toBe(2.5 * ACKED_SLOTS);
  });

  it('goes on behind the newest slot after a restart', async () => {
    for (let index = 1; index <= 5; index++) {
      const file = open();
      file.mark(index, 1, index);
      await file.close();
    }
    garble(5, 0);
    expect((await reopened())!.index).toBe(4);
  });

  it('never takes a promise back', async () => {
    const file = open();
    file.mark(9, 1, 1);
    file.mark(3, 1, 1);
    await file.close();
    expect((await reopened())!.index).toBe(9);
  });

  it('falls back to the slot before when the newest is damaged, whichever byte it is', async () => {
    const file = open();
    file.mark(7, 1, 77);
    file.mark(8, 1, 88);
    await file.close();
    for (let byte = 0; byte < ACKED_SLOT_BYTES; byte++) {
      garble(2, byte);
      expect(await reopened()).toEqual({ index: 7, epoch: 1, recordCrc: 77 });
      garble(2, byte);
    }
    expect((await reopened())!.index).toBe(8);
  });

  it('says that it cannot be read when no slot is valid, when it is empty or when it is gone', async () => {
    for (const bytes of [Buffer.alloc(ACKED_SLOTS * ACKED_SLOT_BYTES), Buffer.alloc(0), Buffer.alloc(5000, 0xa5)]) {
      writeFileSync(path, bytes);
      expect(await reopened()).toBeUndefined();
    }
    rmSync(path);
    expect(await reopened()).toBeUndefined();
  });

  it('can be written again once it was unreadable', async () => {
    writeFileSync(path, Buffer.alloc(0));
    const file = open();
    file.mark(12, 3, 4);
    await file.close();
    expect(await reopened()).toEqual({ index: 12, epoch: 3, recordCrc: 4 });
  });

  it('survives a torn write of the newest slot', async () => {
    const file = open();
    file.mark(1, 1, 1);
    await file.close();
    const raw = openSync(path, 'r+');
    writeSync(raw, Buffer.from('0000000000000063000000', 'hex'), 0, 11, 2 * ACKED_SLOT_BYTES);
    closeSync(raw);
    expect((await reopened())!.index).toBe(1);
  });

  it('syncs 100 ms after a mark, once for many, and not when nothing was marked', async () => {
    const file = open();
    expect(clock.pendingTimers).toBe(0);
    for (let index = 1; index <= 50; index++) file.mark(index, 1, 1);
    expect(clock.pendingTimers).toBe(1);
    await clock.advance(99);
    expect(clock.pendingTimers).toBe(1);
    await clock.advance(1);
    expect(clock.pendingTimers).toBe(0);
    await file.close();
    await file.close();
    expect(() => file.mark(51, 1, 1)).toThrow('closed');
  });

  it('leaves no timer behind when it is closed', async () => {
    const file = open();
    file.mark(1, 1, 1);
    await file.close();
    expect(clock.pendingTimers).toBe(0);
  });
});
