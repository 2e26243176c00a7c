/**
 * Short notes that fronts leave for each other at all brokers: who has what in its memory. A broker only keeps them, the
 * newest of each name, for as long as it is asked to. What is taken back is kept as an empty note, so that an older one
 * that comes late does not count.
 */
import { tableKeys } from '../../storage/keys';
import { GantryError } from '../base/errors';
import { LIMITS } from '../base/limits';
import type { Applied, CommandOf, Outcome } from './apply';
import type { Core } from './core';
import { json, type BrokerState } from './state';

export interface Note {
  readonly name: string;
  /** Empty: it was taken back. */
  readonly value: string;
  /** The higher one counts. */
  readonly version: number;
  /** Milliseconds since 1970, of the commands' time: behind it nobody asks any more. */
  readonly until: number;
}

/** Notes whose time is over, removed with one that comes: more than come, so that none stay. */
const REMOVED_AT_ONCE = 10;

export class Notes {
  readonly #core: Core;
  /** Where the last look for old notes ended. */
  #looked: IterableIterator<Note> | undefined;

  constructor(core: Core) {
    this.#core = core;
  }

  /** The note as it is now; undefined when there is none, or its time is over. */
  get(name: string): Note | undefined {
    const { state, clock } = this.#core;
    const note = state.notes.get(name);
    return note && note.until > Math.max(clock.now(), state.marks.time) ? note : undefined;
  }

  /** Keeps the note for `ttlMs` milliseconds; an older version than the one that is kept is passed over. */
  async put(name: string, value: string, version: number, ttlMs: number): Promise<void> {
    this.#core.checkRoom();
    await this.#core.submit({ kind: 'putNote', name, value, version, ttlMs, old: this.#old() });
  }

  #old(): string[] {
    const now = this.#core.state.marks.time;
    const old: string[] = [];
    for (let looked = 0; looked < REMOVED_AT_ONCE; looked++) {
      const next = (this.#looked ??= this.#core.state.notes.values()).next();
      if (next.done) {
        this.#looked = undefined;
        break;
      }
      if (next.value.until <= now) old.push(next.value.name);
    }
    return old;
  }
}

export function putNote(state: BrokerState, { command, time }: Applied<CommandOf<'putNote'>>): Outcome<'putNote'> {
  const { name, value, version, ttlMs, old } = command;
  for (const one of old) if ((state.notes.get(one)?.until ?? Infinity) <= time) dropNote(state, one);
  const before = state.notes.get(name);
  if (before && before.version > version && before.until > time) return { ok: undefined };
  if (!before && state.notes.size >= LIMITS.notes)
    return { refused: new GantryError('LIMIT_EXCEEDED', `this broker keeps ${LIMITS.notes} notes already`) };
  if (!before) state.counts.e++;
  const note: Note = { name, value, version, until: time + ttlMs };
  state.notes.set(name, note);
  state.overlay.put(tableKeys.note(name), json(note));
  return { ok: undefined };
}

function dropNote(state: BrokerState, name: string): void {
  if (!state.notes.delete(name)) return;
  state.overlay.delete(tableKeys.note(name));
  state.counts.e--;
}
