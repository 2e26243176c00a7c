/**
 * Tries a filter on the newest messages of a topic, without a group: whoever writes one sees what it takes, what it
 * leaves out, and on which messages it fails. Nothing is remembered, and nothing moves.
 */
import { Heap } from '../base/heap';
import { LIMITS } from '../base/limits';
import { hexOf } from '../base/messageId';
import type { Core } from './core';
import { Effort } from './effort';
import { checkFilter, type Filter, type FilterSpec } from './filter';
import { readableTopic } from './lookup';
import { decodeMessage } from './message';
import type { Queue } from './queue';

/** FAILED: the expression compares a property with a number, and it is none. It does not match either. */
export type Outcome = 'MATCHED' | 'NOT_MATCHED' | 'FAILED';

/** A message as a filter sees it, and what the filter says. Without its body, so that a thousand of them can be held. */
export interface Tried {
  readonly queue: Queue;
  readonly queueOffset: number;
  readonly position: number;
  /** 32 hex digits. */
  readonly messageId: string;
  readonly storeTimestamp: number;
  readonly tag: string | undefined;
  readonly keys: readonly string[];
  readonly properties: Readonly<Record<string, string>>;
  readonly outcome: Outcome;
}

export interface FilterTrial {
  /** The newest first. */
  readonly results: readonly Tried[];
  /** False: the effort was spent before all were tried. */
  readonly complete: boolean;
}

interface Place {
  readonly queue: Queue;
  readonly queueOffset: number;
  readonly position: number;
  readonly bytes: number;
}

export class FilterTests {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Of the newest `last` messages over all queues. Throws FILTER_INVALID. */
  async run(topicName: string, spec: FilterSpec, last: number): Promise<FilterTrial> {
    const topic = readableTopic(this.#core, topicName);
    const filter = checkFilter(spec);
    const effort = new Effort(this.#core.clock);
    const places = await this.#newest(topic.queues, last);
    const results: Tried[] = [];
    let at = 0;
    while (at < places.length && (at === 0 || !effort.spent)) {
      const part = partOf(places, at, effort.nextPart());
      // The journal reads in ascending order.
      const records = (await this.#core.reader.records(part.map(({ position }) => position).reverse())).reverse();
      for (const record of records) {
        const place = places[at++]!;
        if (record) results.push(tried(place, record, filter));
        if (!effort.due) continue;
        if (effort.spent) return { results, complete: at === places.length };
        await effort.pause();
      }
    }
    return { results, complete: at === places.length };
  }

  /** The places of the newest messages: of all queues' last ones the newest, then the one before it in its queue, and so on. */
  async #newest(queues: readonly Queue[], count: number): Promise<Place[]> {
    const heap = new Heap<Place>(({ position }) => -position);
    const add = async (queue: Queue, queueOffset: number) => {
      const segment = queueOffset < queue.min ? undefined : await this.#core.index.at(queue, queueOffset);
      if (!segment) return;
      heap.add({ queue, queueOffset, position: segment.position(queueOffset), bytes: segment.bytes(queueOffset) });
    };
    for (const queue of queues) await add(queue, queue.max - 1);
    const places: Place[] = [];
    while (places.length < count && heap.size > 0) {
      const newest = heap.take()!;
      places.push(newest);
      await add(newest.queue, newest.queueOffset - 1);
    }
    return places;
  }
}

/** The next places whose records may be held at once: one at least. */
function partOf(places: readonly Place[], from: number, max: number): Place[] {
  const part: Place[] = [];
  let bytes = 0;
  for (let i = from; i < places.length && part.length < max; i++) {
    bytes += places[i]!.bytes;
    if (part.length > 0 && bytes > LIMITS.filterBytes) break;
    part.push(places[i]!);
  }
  return part;
}

function tried({ queue, queueOffset, position }: Place, record: Buffer, filter: Filter | undefined): Tried {
  const { messageId, storeTimestamp, tag, keys = [], properties = {} } = decodeMessage(record);
  const place = { queue, queueOffset, position, messageId: hexOf(messageId), storeTimestamp };
  return { ...place, tag, keys, properties, outcome: outcomeOf(record, filter) };
}

function outcomeOf(record: Buffer, filter: Filter | undefined): Outcome {
  if (!filter || filter.matches(record)) return 'MATCHED';
  return filter.fails(record) ? 'FAILED' : 'NOT_MATCHED';
}
