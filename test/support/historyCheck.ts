/**
 * Judges a history: everything a broker promised its clients, and did not keep, comes out as an anomaly with a name
 * (after Jepsen's checkers for queues). One pass over the operations and what they carried, so the
 * time is linear in the history's size.
 *
 * What it takes for granted: a value is used for one message only, a `drain` runs while nobody writes, nothing is
 * trimmed, and a commit never goes back on purpose.
 */
import type { Given, Operation, Placed, QueueContent, Seen, Vocabulary } from './history';

export type AnomalyName =
  /** Acknowledged, or read once, and not in its queue later. */
  | 'lost'
  /** One value at two offsets. */
  | 'duplicate'
  /** One offset with two values, from any reader at any time. */
  | 'inconsistent-offset'
  /** Messages of one writer in one queue, or of one messageGroup, not in the order in which they were acknowledged. */
  | 'order'
  /** Read, but never sent, or not what was sent. */
  | 'unexpected'
  /** Refused, and there all the same. */
  | 'aborted'
  /** A part of one request is there, or its messages do not lie side by side. */
  | 'torn'
  /** An offset between min and max without a message. */
  | 'gap'
  /** An acknowledged id or offset names another message, or none. */
  | 'identity'
  /** A group stands, or reads, before what was committed. */
  | 'offset-backwards'
  /** A group stands behind the end of a queue. */
  | 'offset-beyond-end'
  /** A group has passed a message that it was never handed. */
  | 'skipped'
  /** A tag's count is not the number of its messages. */
  | 'count'
  /** A change that was acknowledged is not there, or one that never was. */
  | 'lost-change'
  /** Something was acknowledged behind the last drain of its topic: nobody looked whether it is there. */
  | 'unread';

export interface Anomaly {
  readonly name: AnomalyName;
  readonly detail: string;
}

/** All anomalies, in the order in which they show; none = every promise was kept. */
export function checkHistory(operations: readonly Operation[]): Anomaly[] {
  const found: Anomaly[] = [];
  const said = new Set<string>();
  const report: Report = (name, about, detail) => {
    if (said.has(`${name} ${about}`)) return;
    said.add(`${name} ${about}`);
    found.push({ name, detail });
  };
  const messages = new Messages(report);
  const positions = new Positions(report);
  const registers = new Registers(report);
  for (const operation of operations) if (operation.kind === 'send') messages.know(operation);
  for (const { operation, returns } of eventsOf(operations)) {
    messages.take(operation, returns);
    positions.take(operation, returns);
    registers.take(operation, returns);
  }
  messages.end();
  positions.end();
  return found;
}

/** Once per name and thing: what is wrong once is wrong in every later read. */
type Report = (name: AnomalyName, about: string, detail: string) => void;
type Of<K extends Operation['kind']> = Extract<Operation, { kind: K }>;

/** Invocations and returns in the order of their numbers. */
function* eventsOf(operations: readonly Operation[]): Iterable<{ operation: Operation; returns: boolean }> {
  const events: { operation: Operation; returns: boolean }[] = [];
  for (const operation of operations) {
    events[operation.invoked] = { operation, returns: false };
    if (operation.returned !== undefined) events[operation.returned] = { operation, returns: true };
  }
  for (const event of events) if (event !== undefined) yield event;
}

/** A message that was sent, over all attempts with its key. */
interface Sent {
  readonly value: string;
  readonly topic: string;
  readonly process: string;
  readonly messageGroup: string | undefined;
  readonly tag: string | undefined;
  /** What the attempts came to, all together. */
  outcome: 'ok' | 'fail' | 'info';
  /** Offsets must be above these: what was acknowledged before this was sent. By key of a lane. */
  floors: ReadonlyMap<string, number> | undefined;
  /** Where and as what it was acknowledged or read first. */
  place: string | undefined;
  names: Placed | undefined;
}

interface Expected {
  readonly value: string;
  readonly place: string;
  readonly why: string;
}

const writerLane = (process: string, topic: string, queueId: number): string => `${process} in ${topic}/${queueId}`;
const groupLane = (messageGroup: string, topic: string): string => `messageGroup ${messageGroup} in ${topic}`;
const placeOf = (topic: string, queueId: number, offset: number): string => `${topic}/${queueId}@${offset}`;

/** Sends, and whatever shows messages. */
class Messages {
  readonly #report: Report;
  readonly #sent = new Map<string, Sent>();
  readonly #valueAt = new Map<string, string>();
  readonly #byId = new Map<string, Sent>();
  /** By topic: what every later drain has to show. */
  readonly #expected = new Map<string, Expected[]>();
  /** By topic: requests without an answer whose messages are stored together or not at all. */
  readonly #unknown = new Map<string, (readonly Given[])[]>();
  /** Topics with something that no drain has looked for yet. */
  readonly #unread = new Map<string, string>();
  /** Highest acknowledged offset by lane: a writer in a queue, a messageGroup in a queue. */
  readonly #highest = new Map<string, number>();
  readonly #queueOfGroup = new Map<string, number>();

  constructor(report: Report) {
    this.#report = report;
  }

  /** Before anything is judged: what was sent at all, and what came of it in the end. */
  know({ args, process, outcome, result }: Of<'send'>): void {
    args.messages.forEach(({ value, messageGroup, tag }, i) => {
      const item = outcome === 'ok' && typeof result?.[i] === 'string' ? 'fail' : outcome;
      const before = this.#sent.get(value);
      if (before) {
        if (before.outcome !== 'ok' && item !== 'fail') before.outcome = item;
        return;
      }
      this.#sent.set(value, {
        value,
        topic: args.topic,
        process,
        messageGroup,
        tag,
        outcome: item,
        floors: undefined,
        place: undefined,
        names: undefined,
      });
    });
  }

  take(operation: Operation, returns: boolean): void {
    if (operation.kind === 'send') {
      if (!returns) this.#noteFloors(operation);
      else if (operation.outcome === 'ok') this.#acknowledge(operation);
      if (returns && operation.outcome === 'info' && operation.args.atOnce) this.#noteUnknown(operation);
    } else if (!returns) return;
    else if (operation.kind === 'find') this.#find(operation);
    else if (operation.outcome !== 'ok') return;
    else if (operation.kind === 'poll') {
      for (const seen of operation.result!) this.#see(operation.args.topic, seen, `read by ${operation.args.group}`);
    } else if (operation.kind === 'drain') this.#drain(operation);
  }

  #lanesOf(sent: Sent, queueId: number): string[] {
    const lanes = [writerLane(sent.process, sent.topic, queueId)];
    if (sent.messageGroup !== undefined) lanes.push(groupLane(sent.messageGroup, sent.topic));
    return lanes;
  }

  /** When a message is first sent, all that is acknowledged by then lies before it. */
  #noteFloors({ args, process }: Of<'send'>): void {
    const open = args.messages.map(({ value }) => this.#sent.get(value)!).filter(({ floors }) => !floors);
    if (open.length === 0) return;
    const lanes = new Set(
      [...this.#queuesOf(process, args.topic)].map((queueId) => writerLane(process, args.topic, queueId)),
    );
    for (const { messageGroup } of open) if (messageGroup !== undefined) lanes.add(groupLane(messageGroup, args.topic));
    const floors = new Map<string, number>();
    for (const lane of lanes) {
      const highest = this.#highest.get(lane);
      if (highest !== undefined) floors.set(lane, highest);
    }
    for (const sent of open) sent.floors = floors;
  }

  readonly #queues = new Map<string, Set<number>>();

  #queuesOf(process: string, topic: string): Set<number> {
    const key = `${process} ${topic}`;
    let queues = this.#queues.get(key);
    if (!queues) this.#queues.set(key, (queues = new Set()));
    return queues;
  }

  #noteUnknown({ args: { topic, messages } }: Of<'send'>): void {
    const list = this.#unknown.get(topic);
    if (list) list.push(messages);
    else this.#unknown.set(topic, [messages]);
  }

  #acknowledge(operation: Of<'send'>): void {
    const { topic, messages } = operation.args;
    const stored: { sent: Sent; placed: Placed }[] = [];
    operation.result!.forEach((placed, i) => {
      if (typeof placed !== 'string') stored.push({ sent: this.#sent.get(messages[i]!.value)!, placed });
    });
    for (const { sent, placed } of stored) {
      const seen: Seen = { ...placed, value: sent.value, messageGroup: sent.messageGroup, tag: sent.tag };
      this.#byId.set(placed.messageId, sent);
      this.#byId.set(placed.offsetMessageId, sent);
      this.#see(topic, seen, `acknowledged to ${operation.process}`);
    }
    // Only now: what is sent together has the same floor, and its own order.
    this.#checkTogether(topic, stored);
    for (const { sent, placed } of stored) {
      this.#queuesOf(sent.process, topic).add(placed.queueId);
      for (const lane of this.#lanesOf(sent, placed.queueId)) {
        this.#highest.set(lane, Math.max(this.#highest.get(lane) ?? -1, placed.queueOffset));
      }
    }
    if (stored.length > 0) this.#unread.set(topic, stored[0]!.sent.value);
  }

  #checkOrder(sent: Sent, { queueId, queueOffset }: Placed): void {
    for (const lane of this.#lanesOf(sent, queueId)) {
      const floor = sent.floors?.get(lane);
      if (floor !== undefined && queueOffset <= floor) {
        this.#report(
          'order',
          sent.value,
          `${sent.value} got offset ${queueOffset}, but ${lane} was at ${floor} already when it was sent`,
        );
      }
    }
    if (sent.messageGroup === undefined) return;
    const lane = `${sent.topic} ${sent.messageGroup}`;
    const queue = this.#queueOfGroup.get(lane);
    if (queue === undefined) this.#queueOfGroup.set(lane, queueId);
    else if (queue !== queueId) {
      this.#report(
        'order',
        sent.value,
        `${sent.value} of messageGroup ${sent.messageGroup} lies in queue ${queueId}, earlier ones in ${queue}`,
      );
    }
  }

  /** Messages of one request: ascending in each queue; without messageGroup side by side. */
  #checkTogether(topic: string, stored: readonly { sent: Sent; placed: Placed }[]): void {
    const last = new Map<number, number>();
    let plain: Placed | undefined;
    for (const { sent, placed } of stored) {
      const { queueId, queueOffset } = placed;
      if (queueOffset <= (last.get(queueId) ?? -1)) {
        this.#report('order', sent.value, `${sent.value} lies before its predecessor in the same request`);
      }
      last.set(queueId, queueOffset);
      if (sent.messageGroup !== undefined) continue;
      if (plain && (plain.queueId !== queueId || plain.queueOffset + 1 !== queueOffset)) {
        this.#report(
          'torn',
          sent.value,
          `${sent.value} lies at ${placeOf(topic, queueId, queueOffset)}, not beside its predecessor in the request`,
        );
      }
      plain = placed;
    }
  }

  /** A message showed up, in an answer or a read. */
  #see(topic: string, seen: Seen, how: string): void {
    const { value, queueId, queueOffset } = seen;
    const place = placeOf(topic, queueId, queueOffset);
    const there = this.#valueAt.get(place);
    if (there === undefined) {
      this.#valueAt.set(place, value);
      this.#expect(topic, { value, place, why: how });
    } else if (there !== value) {
      this.#report('inconsistent-offset', place, `${place} was ${there} and is ${value}, ${how}`);
    }
    const sent = this.#sent.get(value);
    if (!sent || sent.topic !== topic || sent.messageGroup !== seen.messageGroup || sent.tag !== seen.tag) {
      return this.#report('unexpected', value, `${value} at ${place} was never sent like this, ${how}`);
    }
    if (sent.outcome === 'fail') this.#report('aborted', value, `${value} was refused and lies at ${place}, ${how}`);
    if (sent.place === undefined) {
      sent.place = place;
      sent.names = seen;
      // Also when nobody has acknowledged it yet: it was stored behind all that was there when it was sent.
      this.#checkOrder(sent, seen);
    } else if (sent.place !== place) {
      this.#report('duplicate', value, `${value} lies at ${sent.place} and at ${place}, ${how}`);
    }
    this.#checkNames(sent, seen, how);
  }

  #checkNames(sent: Sent, seen: Seen, how: string): void {
    const { names } = sent;
    if (!names || (names.messageId === seen.messageId && names.offsetMessageId === seen.offsetMessageId)) return;
    this.#report(
      'identity',
      sent.value,
      `${sent.value} was ${names.messageId} and ${names.offsetMessageId}, and is ${seen.messageId} and ${seen.offsetMessageId}, ${how}`,
    );
  }

  #expect(topic: string, expected: Expected): void {
    const list = this.#expected.get(topic);
    if (list) list.push(expected);
    else this.#expected.set(topic, [expected]);
  }

  #find({ args: { topic, id }, outcome, result, reason }: Of<'find'>): void {
    const sent = this.#byId.get(id);
    if (outcome === 'ok') {
      this.#see(topic, result!, `found by ${id}`);
      if (sent && sent.value !== result!.value) {
        this.#report('identity', id, `${id} was acknowledged for ${sent.value} and finds ${result!.value}`);
      }
    } else if (outcome === 'fail' && sent) {
      this.#report('identity', id, `${id} was acknowledged for ${sent.value} and finds nothing (${reason})`);
    }
  }

  #drain({ args: { topic }, result }: Of<'drain'>): void {
    const { queues, tags } = result!;
    const there = new Map<string, string>();
    for (const { queueId, messages } of queues) {
      for (const { queueOffset, value } of messages) there.set(placeOf(topic, queueId, queueOffset), value);
    }
    for (const { value, place, why } of this.#expected.get(topic) ?? []) {
      if (there.get(place) === value) continue;
      this.#report(
        'lost',
        place,
        `${value}, ${why}, is not at ${place} any more, but ${there.get(place) ?? 'nothing'}`,
      );
    }
    for (const queue of queues) {
      this.#checkDense(topic, queue);
      for (const seen of queue.messages) this.#see(topic, seen, 'read in a drain');
    }
    this.#checkTags(topic, queues, tags);
    this.#checkUnknown(topic);
    this.#unread.delete(topic);
  }

  #checkDense(topic: string, { queueId, minOffset, maxOffset, messages }: QueueContent): void {
    let next = minOffset;
    for (const { queueOffset } of messages) {
      if (queueOffset !== next)
        return this.#report(
          'gap',
          `${topic}/${queueId}`,
          `${placeOf(topic, queueId, next)} is followed by ${queueOffset}`,
        );
      next++;
    }
    if (next !== maxOffset)
      this.#report('gap', `${topic}/${queueId}`, `${topic}/${queueId} ends at ${next}, but says ${maxOffset}`);
  }

  #checkTags(topic: string, queues: readonly QueueContent[], said: Readonly<Record<string, number>>): void {
    const counts = new Map<string, number>();
    for (const { messages } of queues) {
      for (const { tag } of messages) if (tag !== undefined) counts.set(tag, (counts.get(tag) ?? 0) + 1);
    }
    for (const tag of new Set([...counts.keys(), ...Object.keys(said)])) {
      if ((counts.get(tag) ?? 0) !== (said[tag] ?? 0)) {
        this.#report(
          'count',
          `${topic} ${tag}`,
          `${topic} has ${counts.get(tag) ?? 0} messages with tag ${tag} and counts ${said[tag] ?? 0}`,
        );
      }
    }
  }

  /** Requests that nobody heard of again: all of each is there, or nothing. */
  #checkUnknown(topic: string): void {
    for (const messages of this.#unknown.get(topic) ?? []) {
      const there = messages
        .filter(({ value }) => this.#sent.get(value)!.place !== undefined)
        .map(({ value }) => value);
      if (there.length === 0 || there.length === messages.length) continue;
      this.#report(
        'torn',
        there[0]!,
        `of ${messages.length} messages sent at once ${there.length} are there, among them ${there[0]}`,
      );
    }
  }

  end(): void {
    for (const [topic, value] of this.#unread) {
      this.#report('unread', topic, `${value} was acknowledged in ${topic} and nobody has looked for it since`);
    }
  }
}

/** What a group has committed, where it stands, and what it was handed. */
class Positions {
  readonly #report: Report;
  /** Highest position acknowledged, by group and queue. */
  readonly #committed = new Map<string, number>();
  /** What was acknowledged when an operation began. */
  readonly #floors = new Map<Operation, Map<string, number>>();
  readonly #handed = new Map<string, Set<number>>();
  /** By group and queue: where groups that read everything stand at last. */
  readonly #passed = new Map<string, number>();

  constructor(report: Report) {
    this.#report = report;
  }

  take(operation: Operation, returns: boolean): void {
    if (operation.kind !== 'commit' && operation.kind !== 'offsets' && operation.kind !== 'poll') return;
    if (!returns) {
      if (operation.kind !== 'commit')
        this.#floors.set(operation, this.#of(operation.args.group, operation.args.topic));
      return;
    }
    const floors = this.#floors.get(operation);
    this.#floors.delete(operation);
    if (operation.outcome !== 'ok') return;
    if (operation.kind === 'commit') this.#commit(operation);
    else if (operation.kind === 'poll') this.#poll(operation, floors!);
    else this.#offsets(operation, floors!);
  }

  readonly #queues = new Map<string, Set<string>>();

  #of(group: string, topic: string): Map<string, number> {
    const floors = new Map<string, number>();
    for (const queue of this.#queues.get(`${group} ${topic}`) ?? []) floors.set(queue, this.#committed.get(queue)!);
    return floors;
  }

  #commit({ args: { group, topic }, result }: Of<'commit'>): void {
    for (const { queueId, nextOffset } of result!) this.#raise(group, topic, queueId, nextOffset);
  }

  #raise(group: string, topic: string, queueId: number, offset: number): void {
    const key = `${group} in ${topic}/${queueId}`;
    this.#committed.set(key, Math.max(this.#committed.get(key) ?? 0, offset));
    const queues = this.#queues.get(`${group} ${topic}`);
    if (queues) queues.add(key);
    else this.#queues.set(`${group} ${topic}`, new Set([key]));
  }

  #poll({ args: { group, topic }, result }: Of<'poll'>, floors: Map<string, number>): void {
    for (const { value, queueId, queueOffset } of result!) {
      const key = `${group} in ${topic}/${queueId}`;
      const handed = this.#handed.get(key);
      if (handed) handed.add(queueOffset);
      else this.#handed.set(key, new Set([queueOffset]));
      const floor = floors.get(key) ?? 0;
      if (queueOffset < floor) {
        this.#report(
          'offset-backwards',
          `${key} read`,
          `${key} had committed ${floor} and was handed ${value} at ${queueOffset} again`,
        );
      }
    }
  }

  #offsets({ args: { group, topic, whole }, result }: Of<'offsets'>, floors: Map<string, number>): void {
    for (const { queueId, committed, maxOffset } of result!) {
      const key = `${group} in ${topic}/${queueId}`;
      const floor = floors.get(key) ?? 0;
      if (committed < floor) this.#report('offset-backwards', key, `${key} had ${floor} and stands at ${committed}`);
      if (committed > maxOffset)
        this.#report('offset-beyond-end', key, `${key} stands at ${committed}, the queue ends at ${maxOffset}`);
      // What was seen once, of a commit without an answer, counts from then on.
      this.#raise(group, topic, queueId, committed);
      if (whole) this.#passed.set(key, committed);
    }
  }

  end(): void {
    for (const [key, committed] of this.#passed) {
      const handed = this.#handed.get(key);
      for (let offset = 0; offset < committed; offset++) {
        if (handed?.has(offset)) continue;
        this.#report('skipped', key, `${key} stands at ${committed} and was never handed ${offset}`);
        break;
      }
    }
  }
}

/** Things with one value at a time. Each is changed by one process, one change after the other. */
class Registers {
  readonly #report: Report;
  /** What a look may show: the last known value, and those of later changes that nobody knows about. */
  readonly #possible = new Map<string, Set<string | null>>();

  constructor(report: Report) {
    this.#report = report;
  }

  take(operation: Operation, returns: boolean): void {
    if (operation.kind === 'change') this.#change(operation, returns);
    else if (operation.kind === 'look' && returns && operation.outcome === 'ok') this.#look(operation);
  }

  #of(register: string): Set<string | null> {
    let possible = this.#possible.get(register);
    if (!possible) this.#possible.set(register, (possible = new Set([null])));
    return possible;
  }

  #change({ args: { register, value }, outcome }: Of<'change'>, returns: boolean): void {
    const possible = this.#of(register);
    if (!returns) {
      if (outcome !== 'fail') possible.add(value);
    } else if (outcome === 'ok') this.#possible.set(register, new Set([value]));
  }

  #look({ args: { register }, result }: Of<'look'>): void {
    const possible = this.#of(register);
    const value = result as Vocabulary['look']['result'];
    if (!possible.has(value)) {
      this.#report(
        'lost-change',
        register,
        `${register} is ${JSON.stringify(value)}, but should be ${[...possible].map((one) => JSON.stringify(one)).join(' or ')}`,
      );
    }
    this.#possible.set(register, new Set([value]));
  }
}
