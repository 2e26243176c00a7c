/**
 * The journal's single writer. What waits becomes one turn: numbered, written as one batch, synced. While it syncs, the
 * next turn's commands pile up, so batches emerge without a timer. A command is applied when it is confirmed, in order,
 * and its caller hears of it when its rows are readable.
 *
 * After a failed batch nothing is written any more: whatever was under way has an unknown outcome, and the process ends.
 */
import type { Journal } from '../../storage/journal';
import type { Clock } from '../base/clock';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { Applied, Outcome } from './apply';
import { encodeCommand, KIND, weigh, type Command } from './command';

interface Waiting {
  readonly command: Command;
  readonly records: Buffer[];
  readonly bytes: number;
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: Error) => void;
}

export interface WriterParts {
  clock: Clock;
  journal: Journal;
  epoch: number;
  sync: boolean;
  /** Time of the last command; none may be before it. */
  lastTime: number;
  /** Applies one confirmed command and answers its outcome. */
  apply: (applied: Applied) => Outcome;
  /** A turn has been applied whole. */
  onTurn: () => void;
  /** A batch failed or an invariant broke; the process must end. */
  onFatal: (error: unknown) => void;
}

export class Writer {
  readonly #parts: WriterParts;
  #waiting: Waiting[] = [];
  /** The turn that is being written. */
  #underWay: Waiting[] = [];
  #pendingBytes = 0;
  #busy = false;
  #scheduled = false;
  #time: number;
  #failed: unknown;
  #stopping = false;
  #idle: (() => void) | undefined;
  /** Times from write to sync, for the metrics. */
  turns = 0;
  commands = 0;

  constructor(parts: WriterParts) {
    this.#parts = parts;
    this.#time = parts.lastTime;
  }

  /**
   * Resolves with what was decided, once the command is durable and applied. Rejects with SERVICE_NOT_AVAILABLE before
   * anything is written when too much waits, with OUTCOME_UNKNOWN when the write failed.
   */
  submit<C extends Command>(command: C): Promise<Outcome<C['kind']>> {
    if (this.#failed !== undefined || this.#stopping) return Promise.reject(unavailable('the broker is stopping'));
    const records = encodeCommand(command);
    const bytes = weigh(records);
    if (this.#pendingBytes + bytes > LIMITS.pendingBytes) {
      return Promise.reject(unavailable('more is being sent than the disk can take; nothing of this was stored'));
    }
    this.#pendingBytes += bytes;
    return new Promise<Outcome>((resolve, reject) => {
      this.#waiting.push({ command, records, bytes, resolve, reject });
      this.#schedule();
    }) as Promise<Outcome<C['kind']>>;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Resolves when nothing waits and nothing is being written; later submits are refused. */
  async stop(): Promise<void> {
    this.#stopping = true;
    if (!this.#busy && this.#waiting.length === 0) return;
    await new Promise<void>((resolve) => (this.#idle = resolve));
  }

  /** Waits for the end of this round of events, so that all requests that have just arrived share the first turn. */
  #schedule(): void {
    if (this.#busy || this.#scheduled || this.#failed !== undefined) return;
    this.#scheduled = true;
    this.#parts.clock.soon(() => {
      this.#scheduled = false;
      if (!this.#busy) void this.#turn();
    });
  }

  #take(): Waiting[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#waiting.length && count < LIMITS.turnCommands) {
      bytes += this.#waiting[count]!.bytes;
      if (count > 0 && bytes > LIMITS.turnBytes) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  async #turn(): Promise<void> {
    this.#busy = true;
    const turn = (this.#underWay = this.#take());
    const time = (this.#time = Math.max(this.#time, this.#parts.clock.now()));
    let first: number;
    try {
      first = await this.#parts.journal.append(
        turn.map(({ command, records }) => ({ kind: KIND[command.kind], records })),
        { time, epoch: this.#parts.epoch },
        { sync: this.#parts.sync },
      );
    } catch (error) {
      this.#busy = false;
      this.#fail(error, turn);
      return;
    }
    // The next turn's disk work begins before this one is applied: the two do not depend on each other.
    if (this.#waiting.length > 0) void this.#turn();
    else this.#busy = false;
    // After a broken invariant nothing is applied over the hole, though it is written: the restart decides.
    if (this.#failed === undefined) this.#settle(turn, first, time);
    else this.#refuse(turn);
    this.#tellIfIdle();
  }

  #settle(turn: Waiting[], first: number, time: number): void {
    this.turns++;
    this.commands += turn.length;
    const { epoch, apply, onTurn } = this.#parts;
    let applied = 0;
    try {
      for (const { command, bytes, resolve } of turn) {
        const outcome = apply({ index: first + applied, time, epoch, command });
        applied++;
        this.#pendingBytes -= bytes;
        resolve(outcome);
      }
      onTurn();
    } catch (error) {
      this.#fail(error, turn.slice(applied));
    }
  }

  /** Something else broke: nothing more is written, and whoever waits is told. */
  fail(error: unknown): void {
    this.#fail(error, this.#underWay);
  }

  #fail(error: unknown, turn: Waiting[]): void {
    const first = this.#failed === undefined;
    if (first) this.#failed = error;
    this.#refuse(turn);
    for (const { reject } of this.#waiting.splice(0)) {
      reject(unavailable('the broker cannot go on and restarts; this was not written'));
    }
    this.#tellIfIdle();
    if (first) this.#parts.onFatal(error);
  }

  /** Of what was being written nobody knows whether the next start finds it. */
  #refuse(turn: Waiting[]): void {
    const unknown = new GantryError(
      'OUTCOME_UNKNOWN',
      'the broker broke down while this was written: it may or may not be stored. Repeat it with the same Idempotency-Key, if it had one.',
    );
    for (const { reject } of turn) reject(unknown);
  }

  #tellIfIdle(): void {
    if (!this.#busy && this.#waiting.length === 0) this.#idle?.();
  }
}

function unavailable(why: string): GantryError {
  return new GantryError('SERVICE_NOT_AVAILABLE', `${why}: try again later`, { retryAfterMs: 1000 });
}
