/**
 * Sending to a topic of several brokers. Bytes that name neither a messageGroup nor a queue are passed on as they came;
 * otherwise each message goes to the broker of its place, by the topic's list of partitions, and the answers are put
 * together in the order of the request.
 */
import { GantryError } from '../../src/base/errors';
import type { OutgoingMessage } from '../../src/broker/message';
import { noWritableQueue, partitionOf } from '../../src/broker/partition';
import { brokersIn } from '../../src/broker/partitions';
import type { TopicRoute } from '../../src/nameserver/route';
import { bulkAnswer, failed, type BulkItem } from '../bulk';
import { readMessages } from '../messageBodies';
import { nameOf } from '../names';
import type { Answer, Call, HandlerTable } from '../operation';
import { toWire } from '../wireMessage';
import type { Front } from './front';
import type { PeerAnswer, PeerRequest } from './peer';
import { homeOf, type Sending } from './sending';

type SendCall = Call<'sendMessages'>;

export function sendFront(parts: { front: Front; sending: Sending }): HandlerTable<'sendMessages'> {
  const { front, sending } = parts;
  return {
    async sendMessages(call) {
      if (mayNamePlaces(call)) return new PlacedSend(front, sending, call).run();
      const topic = nameOf(call.path.topic);
      const ask = (broker: string, signal: AbortSignal) => front.ask(call, broker, signal);
      return (await sending.send(topic, call.headers['Idempotency-Key'], call.signal, ask)).asAnswer();
    },
  };
}

/** What stands in any JSON that names a place: the names themselves, or an escape that may hide one. */
const PLACE_MARKS = ['"messageGroup"', '"queue"', '\\u'] as const;

/** False: no message of it has a messageGroup or a queue, which is known without reading them. */
const mayNamePlaces = ({ query, bodyBytes }: SendCall): boolean =>
  query.messageGroup !== undefined || PLACE_MARKS.some((mark) => bodyBytes.includes(mark));

/** Messages of a request that go to one broker; undefined: to any. */
interface Part {
  readonly broker: string | undefined;
  /** Their places in the request. */
  readonly items: readonly number[];
}

/** A broker whose list of partitions is newer says so. */
const ELSEWHERE = 'QUEUE_ELSEWHERE';

/** One request whose messages may have places. */
class PlacedSend {
  readonly #front: Front;
  readonly #sending: Sending;
  readonly #call: SendCall;
  readonly #topic: string;
  readonly #key: string | undefined;
  readonly #messages: readonly OutgoingMessage[];
  readonly #results: (BulkItem | undefined)[];
  /** Every answer so far was one of an earlier call with this key. */
  #replayed = true;

  constructor(front: Front, sending: Sending, call: SendCall) {
    this.#front = front;
    this.#sending = sending;
    this.#call = call;
    this.#topic = nameOf(call.path.topic);
    this.#key = call.headers['Idempotency-Key'];
    this.#messages = readMessages(call);
    this.#results = this.#messages.map(() => undefined);
  }

  /** What was sent to the wrong broker, because the list here is old, is sent again, once. */
  async run(): Promise<Answer> {
    const whole = await this.#round(false);
    if (whole) return whole.asAnswer();
    if (this.#results.some((item) => item?.error?.code === (ELSEWHERE as string))) {
      const again = await this.#round(true);
      if (again) return again.asAnswer();
    }
    const answer = bulkAnswer(this.#call, this.#results as BulkItem[]);
    return this.#replayed ? { ...answer, headers: { ...answer.headers, 'Idempotency-Replayed': 'true' } } : answer;
  }

  /** Sends what has no result yet, or one from the wrong broker. An answer to the whole request is passed on as it is. */
  async #round(last: boolean): Promise<PeerAnswer | undefined> {
    const open = this.#messages.flatMap((_, i) => {
      const known = this.#results[i];
      return known === undefined || known.error?.code === (ELSEWHERE as string) ? [i] : [];
    });
    const { fleet } = this.#front;
    const route = await (last ? fleet.routeNow(this.#topic) : fleet.route(this.#topic));
    const parts = this.#partsOf(route, open);
    const [only] = parts;
    if (parts.length !== 1 || only?.items.length !== this.#messages.length) {
      await Promise.all(parts.map((part) => this.#sendPart(part)));
      return undefined;
    }
    const answer = await this.#ask(only.broker, (broker, signal) => this.#front.ask(this.#call, broker, signal));
    if (last || !answer.text.includes(ELSEWHERE)) return answer;
    this.#take(only.items, answer);
    return undefined;
  }

  #partsOf(route: TopicRoute, open: readonly number[]): Part[] {
    const brokers = brokersIn(route.partitions);
    const parts = new Map<string | undefined, number[]>();
    for (const i of open) {
      const broker = this.#brokerOf(this.#messages[i]!, route, brokers);
      if (broker instanceof GantryError) {
        this.#fail([i], broker);
        continue;
      }
      const items = parts.get(broker);
      if (items) items.push(i);
      else parts.set(broker, [i]);
    }
    return [...parts].map(([broker, items]) => ({ broker, items }));
  }

  #brokerOf(
    { queue, messageGroup }: OutgoingMessage,
    route: TopicRoute,
    brokers: readonly string[],
  ): string | undefined | GantryError {
    if (queue) return brokers.includes(queue.broker) ? queue.broker : noWritableQueue(this.#topic, queue);
    if (messageGroup !== undefined) return partitionOf(route.partitions, writeQueuesOf(route), messageGroup).broker;
    return this.#key === undefined ? undefined : homeOf(this.#key, brokers);
  }

  #ask(broker: string | undefined, ask: (broker: string, signal: AbortSignal) => Promise<PeerAnswer>) {
    const { signal } = this.#call;
    if (broker === undefined) return this.#sending.anywhere(this.#topic, signal, ask);
    return this.#sending.at(broker, this.#key !== undefined, signal, ask);
  }

  async #sendPart({ broker, items }: Part): Promise<void> {
    const messages = items.map((i) => toWire(this.#messages[i]!));
    const { path, query, headers } = this.#call;
    const request: PeerRequest<'sendMessages'> = {
      ...{ path, query, headers },
      bytes: Buffer.from(JSON.stringify({ messages })),
      contentType: 'application/json',
    };
    try {
      const answer = await this.#ask(broker, (name, signal) =>
        this.#front.peer(name, this.#call).call('sendMessages', request, signal),
      );
      this.#take(items, answer);
    } catch (error) {
      if (!(error instanceof GantryError)) throw error;
      this.#fail(items, error);
    }
  }

  /** The results of a part; a refusal of all of it is each one's. */
  #take(items: readonly number[], answer: PeerAnswer): void {
    if (answer.headers['idempotency-replayed'] === undefined) this.#replayed = false;
    const { results } = answer.json<{ results?: BulkItem[] }>();
    if (!results) return this.#fail(items, answer.failure());
    items.forEach((i, at) => void (this.#results[i] = results[at]));
  }

  #fail(items: readonly number[], error: GantryError): void {
    this.#replayed = false;
    for (const i of items) this.#results[i] = failed(error, this.#call.requestId);
  }
}

/** The count is the same on every broker of the topic; when none lives the list itself says as much as can be known. */
const writeQueuesOf = ({ queues, partitions }: TopicRoute): number =>
  queues[0]?.writeQueues ?? 1 + Math.max(...partitions.map(({ queueId }) => queueId));
