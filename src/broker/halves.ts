/**
 * Prepared messages, as the state machine sees them: those that nobody has decided about stand whole in memory but for
 * their records, in the order of their preparation; what was decided is a row that can be found for a day.
 */
import { tableKeys } from '../../storage/keys';
import { hourOf } from './idRuns';
import type { Overlay } from './overlay';
import type { ProducerGroup } from './producerGroup';

/** A half message that nobody has decided about. */
export interface Half {
  readonly topic: number;
  readonly topicName: string;
  readonly producerGroup: string;
  /** 32 hex digits. */
  readonly messageId: string;
  /** Milliseconds since 1970. */
  readonly preparedAt: number;
  /** How often it was asked about. */
  readonly checks: number;
  /** When it is asked about next, milliseconds since 1970. */
  readonly nextCheck: number;
  /** It was asked about often enough: only an operator, or its producer unasked, decides. */
  readonly parked?: boolean;
}

export type Resolution = 'COMMIT' | 'ROLLBACK';

/** What was decided about a half message. */
export interface Decision {
  readonly resolution: Resolution;
  readonly resolvedAt: number;
  readonly half: Half;
  /** Of a commit: where the message lies. */
  readonly place?: { readonly queueId: number; readonly queueOffset: number; readonly position: number };
}

export class Halves {
  readonly #overlay: Overlay;
  readonly #counts: { h: number; p: number };
  /** By position of preparation, in that order. */
  readonly open = new Map<number, Half>();
  readonly producerGroups = new Map<string, ProducerGroup>();
  /** Positions of those whose next question changed since somebody looked (checkbacks.ts). */
  changed: number[] = [];
  /** Changes of producer groups since this process started. */
  groupChanges = 0;

  constructor(overlay: Overlay, counts: { h: number; p: number }) {
    this.#overlay = overlay;
    this.#counts = counts;
  }

  prepare(position: number, half: Half, record: Buffer): void {
    this.#overlay.put(tableKeys.halfRecord(half.topic, position), record);
    this.#counts.h++;
    this.update(position, half);
  }

  update(position: number, half: Half): void {
    this.open.set(position, half);
    this.#overlay.put(tableKeys.half(position), Buffer.from(JSON.stringify(half), 'utf8'));
    this.changed.push(position);
  }

  decide(position: number, decision: Decision): void {
    const { half, resolvedAt } = decision;
    this.#drop(position);
    this.#overlay.delete(tableKeys.halfRecord(half.topic, position));
    const row = Buffer.from(JSON.stringify(decision), 'utf8');
    this.#overlay.put(tableKeys.decision(hourOf(resolvedAt), position), row);
  }

  /** Those of a topic that is deleted; their records are the janitor's. */
  dropTopic(topic: number): void {
    for (const [position, half] of this.open) if (half.topic === topic) this.#drop(position);
  }

  #drop(position: number): void {
    this.open.delete(position);
    this.#overlay.delete(tableKeys.half(position));
    this.#counts.h--;
  }

  dropProducerGroup(name: string): void {
    if (!this.producerGroups.delete(name)) return;
    this.#counts.p--;
    this.groupChanges++;
    this.#overlay.delete(tableKeys.producerGroup(name));
  }

  putProducerGroup(group: ProducerGroup): void {
    if (!this.producerGroups.has(group.name)) this.#counts.p++;
    this.groupChanges++;
    this.producerGroups.set(group.name, group);
    this.#overlay.put(tableKeys.producerGroup(group.name), Buffer.from(JSON.stringify(group), 'utf8'));
  }
}
