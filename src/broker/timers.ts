/**
 * Messages that wait for their time lie in the tables store, in order of it; the next ones stand in memory as keys
 * alone. When they are due, a command carries them whole to where they become visible. Early never, late as the writer
 * is. How many wait costs disk, not memory: the window reaches as far as its bound allows. The next stretch is read
 * while the one before it is fired; nothing of it comes before it stands in the window whole, so that the order is kept.
 */
import { readNumber, tableKeys } from '../../storage/keys';
import type { Tables } from '../../storage/tables';
import type { Clock, Timer } from '../base/clock';
import { LIMITS } from '../base/limits';
import type { CommandOf } from './apply';
import type { Core } from './core';
import { behind, scanRows } from './rows';
import { TimerWindow, type Waiting } from './timerWindow';

/** Milliseconds that the window reaches ahead when it is filled. */
const WINDOW_MS = 60_000;
/** Keys in the window when it is filled, which it is when it is half empty; it may grow to twice as many. */
const WINDOW_KEYS = 50_000;
/** Keys read at once: a few milliseconds in which nothing else is done. */
const KEYS_AT_ONCE = 4096;
/** Messages of one command; and taken out of the window at once, so that the next ones are read while a command is written. */
const FIRED_AT_ONCE = 512;
const TAKEN_AT_ONCE = 8 * FIRED_AT_ONCE;
/** Messages looked up at once: all of them may be as large as a message can be. */
const READ_AT_ONCE = 32;
/** Commands are at least so far apart unless they are full (many are due): each costs a sync, and a look of everybody who waits. */
const APART_MS = 5;
/** Longest sleep: the wall clock may be set, and messages are due by it. */
const LOOK_MS = 1000;
/** After a failure (the disk cannot keep up) they are tried again. */
const RETRY_MS = 500;

type FireTimers = CommandOf<'fireTimers'> & { readonly timers: [number, number][]; readonly records: Buffer[] };

const DUE_AT = 1;
const POSITION_AT = 9;

const dueOf = (key: Buffer): number => readNumber(key, DUE_AT);

export class Timers {
  readonly #core: Core;
  readonly #tables: Tables;
  readonly #clock: Clock;
  readonly #windowKeys: number;
  readonly #release: (record: Buffer) => Buffer;
  /** Positions of those whose time has come, until they are visible; and of those that are being taken back. */
  readonly #firing = new Set<number>();
  readonly #withdrawn = new Set<number>();
  readonly #window = new TimerWindow();
  /** What is due before this time, and comes in, is added to the window. */
  #horizon = 0;
  /** While the next stretch is read: where it begins. */
  #readingFrom: number | undefined;
  #reading: Promise<void> | undefined;
  /** After a reading that failed; milliseconds of the monotonic clock. */
  #readNotBefore = 0;
  #firstFiring = Infinity;
  /** Monotonic time of the last command's beginning. */
  #firedAt = -Infinity;
  #shrinkAt: number;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #stopped = false;

  /** `release` answers a waiting record as it becomes visible, in bytes of its own. */
  constructor(
    core: Core,
    parts: { tables: Tables; release: (record: Buffer) => Buffer; windowKeys?: number | undefined },
  ) {
    this.#core = core;
    this.#tables = parts.tables;
    this.#release = parts.release;
    this.#windowKeys = parts.windowKeys ?? WINDOW_KEYS;
    this.#shrinkAt = 2 * this.#windowKeys;
    this.#clock = core.clock;
  }

  /** Keys that stand in memory. */
  get inMemory(): number {
    return this.#window.size;
  }

  /** Nothing waits for an earlier time, milliseconds since 1970. */
  get from(): number {
    return Math.min(this.#firstFiring, this.#window.first, this.#known);
  }

  /** All that wait up to this time, exclusive, stand in the window. */
  get #known(): number {
    return this.#readingFrom ?? this.#horizon;
  }

  /** Takes a waiting message back while `work` removes it, if it is still there; false when its time has come. */
  async withdraw(due: number, position: number, work: () => Promise<boolean>): Promise<boolean> {
    if (this.#firing.has(position)) return false;
    this.#withdrawn.add(position);
    try {
      return await work();
    } catch (error) {
      if (due < this.#horizon) this.#window.add({ due, position });
      this.#arm();
      throw error;
    } finally {
      this.#withdrawn.delete(position);
    }
  }

  start(): void {
    this.#core.state.newTimers = [];
    this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
    await this.#running;
    await this.#reading;
  }

  /** Called after each turn. */
  notice(): void {
    const { state } = this.#core;
    if (state.newTimers.length === 0) return;
    let sooner = false;
    for (const [due, position] of state.newTimers) {
      if (due >= this.#horizon) continue;
      if (due < this.#window.first) sooner = true;
      this.#window.add({ due, position });
    }
    state.newTimers = [];
    if (sooner) this.#arm();
  }

  /** Milliseconds until the next command makes sense. */
  get #rest(): number {
    return this.#firedAt + APART_MS - this.#clock.monotonic();
  }

  #arm(): void {
    if (this.#running || this.#stopped) return;
    this.#timer?.cancel();
    const { first } = this.#window;
    const ms = first < this.#known ? Math.max(1, this.#rest, first - this.#clock.now()) : LOOK_MS;
    const untilRead = this.#readNotBefore - this.#clock.monotonic();
    const atMost = untilRead > 0 ? Math.min(untilRead, LOOK_MS) : LOOK_MS;
    this.#timer = this.#clock.after(Math.min(ms, atMost), () => this.#run());
  }

  #run(): void {
    if (this.#running || this.#stopped) return;
    this.#timer?.cancel();
    this.#running = this.#fire().then(
      () => this.#again(),
      () => this.#again(RETRY_MS),
    );
  }

  #again(ms?: number): void {
    this.#running = undefined;
    if (ms === undefined) this.#arm();
    else if (!this.#stopped) this.#timer = this.#clock.after(ms, () => this.#run());
  }

  async #fire(): Promise<void> {
    while (!this.#stopped) {
      const now = this.#clock.now();
      this.#readAhead(now);
      const due = this.#takeDue(now);
      try {
        if (due.length > 0) await this.#fireAll(due);
        if (due.length === 0 || (due.length < FIRED_AT_ONCE && this.#rest > 0)) return this.#shrink();
      } catch (error) {
        for (const waiting of due) this.#window.add(waiting);
        throw error;
      } finally {
        this.#firing.clear();
        this.#firstFiring = Infinity;
      }
    }
  }

  #takeDue(now: number): Waiting[] {
    const due: Waiting[] = [];
    this.#firstFiring = this.#window.first;
    const known = this.#known;
    while (due.length < TAKEN_AT_ONCE && this.#window.first <= now && this.#window.first < known) {
      const waiting = this.#window.take()!;
      if (this.#withdrawn.has(waiting.position)) continue;
      this.#firing.add(waiting.position);
      due.push(waiting);
    }
    if (due.length > 0) this.#firedAt = this.#clock.monotonic();
    return due;
  }

  /** What came since the window was filled must not outgrow it: the later ones are read when it is their turn. */
  #shrink(): void {
    if (this.#window.size <= this.#shrinkAt || this.#reading) return;
    this.#horizon = this.#window.shrink(this.#windowKeys);
    this.#shrinkAt = 2 * Math.max(this.#windowKeys, this.#window.size);
  }

  #readAhead(now: number): void {
    const enough = this.#window.size > this.#windowKeys / 2 || this.#horizon > now + WINDOW_MS / 2;
    if (enough || this.#reading || this.#clock.monotonic() < this.#readNotBefore) return;
    this.#reading = this.#fill(now).then(
      () => this.#afterReading(),
      () => this.#afterReading(RETRY_MS),
    );
  }

  #afterReading(ms = 0): void {
    this.#reading = undefined;
    this.#readNotBefore = this.#clock.monotonic() + ms;
    if (ms > 0) this.#arm();
    else this.#run();
  }

  /** The next stretch of what waits. */
  async #fill(now: number): Promise<void> {
    const from = (this.#readingFrom = this.#horizon);
    const wanted = Math.max(from, now) + WINDOW_MS;
    // From here on new ones of this stretch are noted: the reading may miss them.
    this.#horizon = wanted;
    let end = from;
    try {
      end = await this.#read(from, wanted);
    } finally {
      this.#readingFrom = undefined;
      this.#horizon = end;
      if (end < wanted) this.#window.cutOff(end);
    }
  }

  /** Answers up to when all that wait stand in the window. */
  async #read(from: number, end: number): Promise<number> {
    const { state } = this.#core;
    const lt = tableKeys.timersFrom(end);
    let gte = tableKeys.timersFrom(from);
    let left = this.#windowKeys - this.#window.size;
    for (let first: number | undefined; ;) {
      const limits = { limit: left > 0 ? Math.min(KEYS_AT_ONCE, left) : KEYS_AT_ONCE, keysOnly: true };
      const { rows, more } = await scanRows(this.#tables, state.overlay, { gte, lt }, limits);
      for (const { key } of rows) this.#window.add({ due: dueOf(key), position: readNumber(key, POSITION_AT) });
      if (!more) return end;
      left -= rows.length;
      first ??= dueOf(rows[0]!.key);
      const last = rows.at(-1)!.key;
      // Some of the last millisecond may be left; more than the window takes may be due at one and the same.
      if (left <= 0 && dueOf(last) > first) return dueOf(last);
      gte = behind(last);
    }
  }

  /**
   * In commands as large as one may be, one after another; each is read while the one before it is written. After a
   * failure in between, those that were fired are found no more.
   */
  async #fireAll(due: readonly Waiting[]): Promise<void> {
    let command: FireTimers = { kind: 'fireTimers', timers: [], records: [] };
    let bytes = 0;
    let written: Promise<unknown> = Promise.resolve();
    const write = async () => {
      await written;
      if (command.timers.length === 0) return;
      written = this.#core.submit(command);
      written.catch(() => undefined); // whoever waits for it is told
      command = { kind: 'fireTimers', timers: [], records: [] };
      bytes = 0;
    };
    try {
      for (let at = 0; at < due.length;) {
        const part = due.slice(at, at + FIRED_AT_ONCE);
        const found = await this.#records(part);
        for (const [i, record] of found.entries()) {
          if (!record) continue; // fired already, taken back, or its group or topic was deleted
          command.timers.push([part[i]!.due, part[i]!.position]);
          command.records.push(this.#release(record)); // sealed anew: the row's bytes are still read by others
          bytes += record.length;
          if (bytes >= LIMITS.batchBytes || command.timers.length === FIRED_AT_ONCE) await write();
        }
        at += found.length;
      }
      await write();
    } finally {
      await written; // also when the next ones cannot be read: until then none of these may be taken back
    }
  }

  /** Of the first ones, as many as may be read at once; null: there is none any more. */
  async #records(waiting: readonly Waiting[]): Promise<(Buffer | null | undefined)[]> {
    const keys = waiting.map(({ due, position }) => tableKeys.timer(due, position));
    const found = keys.map((key) => this.#core.state.overlay.get(key));
    const stored = keys.filter((_, i) => found[i] === undefined);
    const scanned = stored.length > READ_AT_ONCE ? await this.#scan(stored) : new Map<string, Buffer>();
    const missing: number[] = [];
    for (let i = 0; i < keys.length; i++) {
      if (found[i] === undefined) found[i] = scanned.get(keys[i]!.toString('latin1'));
      if (found[i] === undefined) missing.push(i);
    }
    // A scan may leave rows out that are there (tables.ts): what it did not bring is looked up.
    const asked = missing.slice(0, READ_AT_ONCE);
    const answers = asked.length > 0 ? await this.#tables.getMany(asked.map((i) => keys[i]!)) : [];
    asked.forEach((i, at) => (found[i] = answers[at] ?? null));
    return found.slice(0, missing[READ_AT_ONCE] ?? found.length);
  }

  /** They lie side by side, in this order: one read brings all, or the first ones. */
  async #scan(keys: readonly Buffer[]): Promise<Map<string, Buffer>> {
    const range = { gte: keys[0]!, lte: keys.at(-1)! };
    const rows = await this.#tables.scan({ ...range, limit: keys.length, maxBytes: LIMITS.batchBytes });
    return new Map(rows.map(({ key, value }) => [key.toString('latin1'), value]));
  }
}

/** Range of all waiting messages. */
export const ALL_TIMERS = tableKeys.family('T');
