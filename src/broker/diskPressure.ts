/**
 * How much of the journal has to go because the disk is too full. Only what frees space that is needed goes: when others
 * fill the disk, messages would be lost and the disk be as full as before. RocketMQ's DefaultMessageStore drops its
 * oldest files by the ratio alone, but never the file that it is writing (1 GiB).
 */
import type { Clock } from '../base/clock';
import { LIMITS } from '../base/limits';

/** Use of a disk, and of this broker's journal on it; storage/diskSpace.ts measures the real one. */
export interface DiskUse {
  /** Bytes used on the whole disk, by whomever. */
  readonly usedBytes: number;
  /** Bytes that this process may still use. */
  readonly availableBytes: number;
  /** Bytes of the files of this broker's journal. */
  readonly journalBytes: number;
}

export const usedRatioOf = ({ usedBytes, availableBytes }: DiskUse): number =>
  usedBytes + availableBytes === 0 ? 1 : usedBytes / (usedBytes + availableBytes);

export type Pressure =
  /** Below the ratio. */
  | { readonly kind: 'NONE' }
  /** So many bytes of the journal go. */
  | { readonly kind: 'TRIM'; readonly bytes: number }
  /** The space of an earlier trim has not been given back yet. */
  | { readonly kind: 'AWAITED' }
  /** Nothing goes: the journal is too small for it to help, or an earlier trim did not. */
  | { readonly kind: 'HELPLESS'; readonly neededBytes: number };

interface Awaited {
  readonly journalBytes: number;
  readonly bytes: number;
  /** Monotonic time after which the space should have come back. */
  readonly until: number;
}

export class DiskPressure {
  readonly #clock: Clock;
  readonly #ratio: number;
  #awaited: Awaited | undefined;
  /** A trim freed nothing: no other is tried until the disk has had room once. */
  #useless = false;

  /** `ratio`: the share of the disk above which messages go before their time. */
  constructor(parts: { clock: Clock; ratio: number }) {
    this.#clock = parts.clock;
    this.#ratio = parts.ratio;
  }

  /** Judges the numbers of one look. TRIM expects that the bytes are trimmed. */
  judge(use: DiskUse): Pressure {
    const total = use.usedBytes + use.availableBytes;
    const neededBytes = Math.ceil(use.usedBytes - this.#ratio * total);
    if (neededBytes <= 0) {
      this.#awaited = undefined;
      this.#useless = false;
      return { kind: 'NONE' };
    }
    if (this.#awaited && !this.#hasComeBack(this.#awaited, use)) {
      if (this.#clock.monotonic() < this.#awaited.until) return { kind: 'AWAITED' };
      this.#useless = true;
    }
    this.#awaited = undefined;
    const kept = Math.min(LIMITS.journalKeptBytes, total / 10);
    const releasable = use.journalBytes - kept;
    if (this.#useless || releasable < neededBytes) return { kind: 'HELPLESS', neededBytes };
    const until = this.#clock.monotonic() + LIMITS.giveBackMs;
    this.#awaited = { journalBytes: use.journalBytes, bytes: neededBytes, until };
    return { kind: 'TRIM', bytes: neededBytes };
  }

  /** Half of it will do: what is written meanwhile counts against it. */
  #hasComeBack({ journalBytes, bytes }: Awaited, use: DiskUse): boolean {
    return use.journalBytes <= journalBytes - bytes / 2;
  }
}
