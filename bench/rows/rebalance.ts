/**
 * A group of 64 consumers with waiting polls on 64 queues changes: they join one after another; then one leaves, and it
 * is measured when all queues have an owner again, and when a message that was sent to a queue of the one that left has
 * reached its new owner. It joins again, and another one leaves.
 */
import { median } from '../alternation';
import type { Broker } from '../broker';
import { Connection } from '../connection';
import { Consumer } from '../consumer';
import { MESSAGE_BYTES, messageText } from '../request';
import type { Line, Row } from '../row';
import { askOn, checked } from '../served';
import type { Session } from '../session';
import { markAt, markOf } from '../steadySender';
import { within } from '../within';

const TOPIC = 'bench';
const GROUP = 'readers';
const MEMBERS = 64;
const ROUNDS = 10;
const WAIT_MS = 30_000;
/** Longest wait for anything. A queue that has to be taken by force moves when its owner's lease, 30 s, is over. */
const LIMIT_MS = 3000;
/** Before one leaves, until all polls wait again. */
const SETTLE_MS = 100;

export const rebalance: Row = { name: 'rebalance', run };

async function run(session: Session): Promise<Line[]> {
  const broker = await session.startBroker('rebalance');
  await broker.createTopic(TOPIC, MEMBERS);
  const group = new Group(broker);
  const joinMs = await group.joinAll();
  const rounds: Round[] = [];
  // Spread over the ranks: by rank it is decided how many queues move.
  for (let i = 0; i < ROUNDS; i++) rounds.push(await group.leaveAndJoin(Math.floor((i * MEMBERS) / ROUNDS), i));
  group.close();
  await session.discard(broker);
  const line = (what: string, value: number, note?: string): Line => ({
    ...{ what, value, unit: 'ms' },
    ...(note !== undefined && { note }),
  });
  return [
    line(`${MEMBERS} consumers join one after another`, joinMs, 'each has a queue and polls'),
    line(`one of ${MEMBERS} leaves, until its queues are owned`, median(rounds.map(({ ownedMs }) => ownedMs))),
    line(
      `one of ${MEMBERS} leaves, until its message is delivered`,
      median(rounds.map(({ receivedMs }) => receivedMs)),
    ),
  ];
}

/** Milliseconds from the moment that one leaves. */
interface Round {
  readonly ownedMs: number;
  readonly receivedMs: number;
}

interface Listed {
  readonly consumerId: string;
  readonly queues: readonly { readonly broker: string; readonly queueId: number }[];
}

class Group {
  readonly #broker: Broker;
  readonly #sender: Connection;
  readonly #members: readonly Member[];
  #received: (number: number) => void = () => undefined;
  #failure: Error | undefined;

  constructor(broker: Broker) {
    this.#broker = broker;
    this.#sender = new Connection(broker.port);
    const events = {
      onMessage: (number: number) => this.#received(number),
      onFailure: (error: Error) => (this.#failure ??= error),
    };
    this.#members = Array.from({ length: MEMBERS }, (_, i) => new Member(broker, i, events));
  }

  /** Answers the milliseconds until each has a queue. */
  async joinAll(): Promise<number> {
    const began = performance.now();
    for (const member of this.#members) await member.join();
    await this.#until('each consumer has a queue', isSettled);
    return performance.now() - began;
  }

  async leaveAndJoin(index: number, round: number): Promise<Round> {
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    const member = this.#members[index]!;
    const queue = (await this.#list()).find(({ consumerId }) => consumerId === member.id)!.queues[0]!;
    const receiving = new Promise<number>((resolve) => {
      this.#received = (number) => void (number === round && resolve(performance.now()));
    });
    const leftAt = performance.now();
    await member.leave();
    const [ownedAt, receivedAt] = await Promise.all([
      this.#until('all queues are owned', isOwned),
      within(LIMIT_MS, 'the new owner has a message', receiving),
      this.#send(queue, round),
    ]);
    await member.join();
    await this.#until('each consumer has a queue', isSettled);
    return { ownedMs: ownedAt - leftAt, receivedMs: receivedAt - leftAt };
  }

  async #send(queue: Listed['queues'][number], number: number): Promise<void> {
    const { broker, queueId } = queue;
    const path = `/v1/topics/${TOPIC}/messages`;
    const message = { body: messageText(MESSAGE_BYTES, markOf(number)), queue: { broker, queueId } };
    checked(await askOn(this.#sender, 'POST', path, { messages: [message] }), 'POST', path);
  }

  /** Looks as fast as it is answered; answers when it was so. */
  async #until(what: string, isSo: (consumers: readonly Listed[]) => boolean): Promise<number> {
    for (const began = performance.now(); ;) {
      const so = isSo(await this.#list());
      const now = performance.now();
      if (this.#failure) throw this.#failure;
      if (so) return now;
      if (now - began > LIMIT_MS) throw new Error(`${what}: not within ${LIMIT_MS} ms`);
    }
  }

  async #list(): Promise<readonly Listed[]> {
    const text = await this.#broker.tell('GET', `/v1/groups/${GROUP}/consumers`);
    return (JSON.parse(text) as { consumers: Listed[] }).consumers;
  }

  close(): void {
    this.#sender.close();
    for (const member of this.#members) member.close();
  }
}

const isOwned = (consumers: readonly Listed[]): boolean =>
  consumers.reduce((sum, { queues }) => sum + queues.length, 0) === MEMBERS;

const isSettled = (consumers: readonly Listed[]): boolean =>
  consumers.length === MEMBERS && consumers.every(({ queues }) => queues.length === 1);

interface MemberEvents {
  readonly onMessage: (number: number) => void;
  readonly onFailure: (error: Error) => void;
}

/** As long as it is in the group it polls, and commits with each poll what the one before it gave. */
class Member {
  readonly id: string;
  readonly #broker: Broker;
  readonly #events: MemberEvents;
  readonly #consumer: Consumer;
  #present = false;
  #polling: Promise<void> = Promise.resolve();

  constructor(broker: Broker, index: number, events: MemberEvents) {
    this.id = `member-${String(index).padStart(2, '0')}`;
    this.#broker = broker;
    this.#events = events;
    this.#consumer = new Consumer({
      ...{ port: broker.port, topic: TOPIC, group: GROUP, id: this.id, max: 32, waitMs: WAIT_MS, autoCommit: true },
      onMessage: (answer, bodyAt) => events.onMessage(markAt(answer, bodyAt)),
    });
  }

  async join(): Promise<void> {
    await within(LIMIT_MS, `the last poll of ${this.id} ends`, this.#polling);
    await this.#consumer.join();
    this.#present = true;
    this.#polling = this.#poll();
  }

  /** Its poll ends by that. */
  async leave(): Promise<void> {
    this.#present = false;
    await this.#broker.tell('DELETE', `/v1/groups/${GROUP}/consumers/${this.id}`);
  }

  /** What goes wrong once it leaves is the end of its membership. */
  async #poll(): Promise<void> {
    try {
      while (this.#present) await this.#consumer.poll();
    } catch (error) {
      if (this.#present) this.#events.onFailure(error as Error);
    }
  }

  close(): void {
    this.#consumer.close();
  }
}
