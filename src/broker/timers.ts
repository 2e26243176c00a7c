/**
 * Messages that wait for their time lie in the tables store, in order of it; the next ones stand in memory as keys
 * alone. When they are due, a command carries them whole to where they become visible. Early never, late as the writer
 * is. How many wait costs disk, not memory: the window reaches as far as its bound allows.
 */
import { readNumber, tableKeys } from '../../storage/keys';
import type { Tables } from '../../storage/tables';
import type { Clock, Timer } from '../base/clock';
import { Heap } from '../base/heap';
import { LIMITS } from '../base/limits';
import type { Core } from './core';
import { behind, scanRows, type Rows } from './rows';

/** Milliseconds that the window reaches ahead when it is filled. */
const WINDOW_MS = 60_000;
/** Keys in the window when it is filled; it may grow to twice as many. */
const WINDOW_KEYS = 50_000;
/** Messages of one command. */
const FIRED_AT_ONCE = 512;
/** Messages read at once: all of them may be as large as a message can be. */
const READ_AT_ONCE = 32;
/** Longest sleep: the wall clock may be set, and messages are due by it. */
const LOOK_MS = 1000;
/** After a failure (the disk cannot keep up) they are tried again. */
const RETRY_MS = 500;

interface Waiting {
  readonly due: number;
  readonly position: number;
}

const DUE_AT = 1;
const POSITION_AT = 9;

/** What failed together comes again in its old order, unless it is more than one command takes. */
const inOrder = (a: Waiting, b: Waiting): number => a.due - b.due || a.position - b.position;

const dueOf = (key: Buffer): number => readNumber(key, DUE_AT);

/** Waiting messages in order of their time, each of them once. */
class Window {
  readonly #heap = new Heap<Waiting>(({ due }) => due);
  readonly #positions = new Set<number>();

  get size(): number {
    return this.#positions.size;
  }

  /** When the first one is due. */
  get first(): number {
    return this.#heap.first?.due ?? Infinity;
  }

  add(waiting: Waiting): void {
    if (this.#positions.has(waiting.position)) return;
    this.#positions.add(waiting.position);
    this.#heap.add(waiting);
  }

  take(): Waiting | undefined {
    const waiting = this.#heap.take();
    if (waiting) this.#positions.delete(waiting.position);
    return waiting;
  }

  /** Keeps the first `count`, and all that are due when the first one is; answers up to when it is whole. */
  shrink(count: number): number {
    const { first } = this;
    const kept: Waiting[] = [];
    while (kept.length < count && this.size > 0) kept.push(this.take()!);
    const end = Math.max(this.first, first + 1);
    for (const waiting of kept) this.add(waiting);
    this.cutOff(end);
    return end;
  }

  /** Forgets what is due at `end` or later. */
  cutOff(end: number): void {
    const kept: Waiting[] = [];
    while (this.first < end) kept.push(this.take()!);
    this.#heap.clear();
    this.#positions.clear();
    for (const waiting of kept) this.add(waiting);
  }
}

export class Timers {
  readonly #core: Core;
  readonly #tables: Tables;
  readonly #clock: Clock;
  readonly #windowKeys: number;
  readonly #release: (record: Buffer) => Buffer;
  /** Positions of those whose time has come, until they are visible; and of those that are being taken back. */
  readonly #firing = new Set<number>();
  readonly #withdrawn = new Set<number>();
  readonly #window = new Window();
  /** All that wait up to this time, exclusive, stand in the window. */
  #horizon = 0;
  #firstFiring = Infinity;
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
    return Math.min(this.#firstFiring, this.#window.first, this.#horizon);
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

  #arm(): void {
    if (this.#running || this.#stopped) return;
    this.#timer?.cancel();
    const now = this.#clock.now();
    const next = Math.min(this.#window.first, this.#horizon);
    this.#timer = this.#clock.after(Math.min(Math.max(1, next - now), LOOK_MS), () => this.#run());
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
      const due = this.#takeDue(now);
      try {
        if (due.length > 0) await this.#fireAll(due.sort(inOrder));
        else if (this.#window.size === 0 && this.#horizon <= now + WINDOW_MS / 2) await this.#fill(now);
        else return this.#shrink();
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
    while (due.length < FIRED_AT_ONCE && this.#window.first <= now) {
      const waiting = this.#window.take()!;
      if (this.#withdrawn.has(waiting.position)) continue;
      this.#firing.add(waiting.position);
      due.push(waiting);
    }
    return due;
  }

  /** What came since the window was filled must not outgrow it: the later ones are read when it is their turn. */
  #shrink(): void {
    if (this.#window.size <= this.#shrinkAt) return;
    this.#horizon = this.#window.shrink(this.#windowKeys);
    this.#shrinkAt = 2 * Math.max(this.#windowKeys, this.#window.size);
  }

  /** The next stretch of what waits. */
  async #fill(now: number): Promise<void> {
    const from = this.#horizon;
    const wanted = Math.max(from, now) + WINDOW_MS;
    // From here on new ones of this stretch are noted: the reading may miss them.
    this.#horizon = wanted;
    let end = from;
    try {
      end = await this.#read(from, wanted);
    } finally {
      this.#horizon = end;
      if (end < wanted) this.#window.cutOff(end);
    }
  }

  /** Answers up to when all that wait stand in the window. */
  async #read(from: number, end: number): Promise<number> {
    let { rows, more } = await this.#scan(tableKeys.timersFrom(from), tableKeys.timersFrom(end));
    if (!more) return end;
    const first = dueOf(rows[0]!.key);
    const last = dueOf(rows.at(-1)!.key);
    if (first < last) return last; // some of the last millisecond may be left
    // More are due at one and the same millisecond than the window takes: all of them, then.
    while (more) ({ rows, more } = await this.#scan(behind(rows.at(-1)!.key), tableKeys.timersFrom(first + 1)));
    return first + 1;
  }

  async #scan(gte: Buffer, lt: Buffer): Promise<Rows> {
    const limits = { limit: this.#windowKeys, keysOnly: true };
    const found = await scanRows(this.#tables, this.#core.state.overlay, { gte, lt }, limits);
    for (const { key } of found.rows) this.#window.add({ due: dueOf(key), position: readNumber(key, POSITION_AT) });
    return found;
  }

  /** In commands as large as one may be. After a failure in between, those that were fired are found no more. */
  async #fireAll(due: readonly Waiting[]): Promise<void> {
    let timers: [number, number][] = [];
    let records: Buffer[] = [];
    let bytes = 0;
    for (let start = 0; start < due.length; start += READ_AT_ONCE) {
      const part = due.slice(start, start + READ_AT_ONCE);
      const found = await this.#records(part);
      for (let i = 0; i < part.length; i++) {
        const record = found[i];
        if (!record) continue; // fired already, taken back, or its group or topic was deleted
        timers.push([part[i]!.due, part[i]!.position]);
        records.push(this.#release(record)); // sealed anew: the row's bytes are still read by others
        bytes += record.length;
        if (bytes < LIMITS.batchBytes) continue;
        await this.#core.submit({ kind: 'fireTimers', timers, records });
        [timers, records, bytes] = [[], [], 0];
      }
    }
    if (timers.length > 0) await this.#core.submit({ kind: 'fireTimers', timers, records });
  }

  async #records(waiting: readonly Waiting[]): Promise<(Buffer | null | undefined)[]> {
    const keys = waiting.map(({ due, position }) => tableKeys.timer(due, position));
    const fresh = keys.map((key) => this.#core.state.overlay.get(key));
    const missing = keys.filter((_, i) => fresh[i] === undefined);
    const stored = missing.length > 0 ? await this.#tables.getMany(missing) : [];
    let next = 0;
    return fresh.map((value) => (value === undefined ? stored[next++] : value));
  }
}

/** Range of all waiting messages. */
export const ALL_TIMERS = tableKeys.family('T');
