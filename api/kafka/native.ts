/**
 * The one way from this face to Gantry: the native operations as the front in this process serves them. So it works on
 * any front, and whatever concerns several brokers is settled below it.
 */
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import type { Clock } from '../../src/base/clock';
import { CODES, GantryError, type Code } from '../../src/base/errors';
import type { Broker } from '../../src/broker/broker';
import type { OutgoingMessage } from '../../src/broker/message';
import type { StoredResult } from '../../src/broker/sender';
import type { Contract } from '../contract';
import { LocalPeer } from '../front/localPeer';
import type { PeerAnswer, PeerRequest } from '../front/peer';
import { Call, type Handlers, type OperationId, type Request } from '../operation';
import { toWire } from '../wireMessage';
import type { TopicFacts } from './partitions';

/** What became of a message that was sent. */
export type Sent =
  | { readonly broker: string; readonly queueId: number; readonly queueOffset: number; readonly error?: undefined }
  | { readonly error: GantryError };

export interface Native {
  /** An operation of the contract; refusals are answers. The caller has checked what he asks. */
  call<Op extends OperationId>(op: Op, asked: PeerRequest<Op>, signal: AbortSignal): Promise<PeerAnswer>;
  /** A topic's record; a front without it may be some seconds behind. Throws TOPIC_NOT_FOUND, also for system topics. */
  topic(name: string): TopicFacts | Promise<TopicFacts>;
  /** One result for each message, in their order. Throws what concerns them all. */
  send(topic: string, messages: readonly OutgoingMessage[], signal: AbortSignal): Promise<readonly Sent[]>;
}

export interface FrontNativeParts {
  readonly clock: Clock;
  readonly contract: Contract;
  /** As the front serves them. */
  readonly handlers: Handlers;
  /** The broker in this process, if there is one. */
  readonly resident: { readonly broker: Broker; readonly hasAllOf: (topic: string) => boolean } | undefined;
}

/** How long a record of a topic is used that is not kept here, milliseconds. What it says that matters only grows. */
const FRESH_MS = 5000;
/** Records kept; the oldest go first. */
const KEPT = 10_000;
const NAME = /^[A-Za-z0-9_.-]{1,127}$/;
const FOREVER = new AbortController().signal;

export class FrontNative implements Native {
  readonly #parts: FrontNativeParts;
  readonly #peer: LocalPeer;
  readonly #topics = new Map<string, { readonly at: number; readonly topic: Promise<TopicFacts> }>();

  constructor(parts: FrontNativeParts) {
    this.#parts = parts;
    const { contract, handlers } = parts;
    this.#peer = new LocalPeer(contract, { name: 'front', handlers }, nobodysCall(contract));
  }

  call<Op extends OperationId>(op: Op, asked: PeerRequest<Op>, signal: AbortSignal): Promise<PeerAnswer> {
    return this.#peer.call(op, asked, signal);
  }

  topic(name: string): TopicFacts | Promise<TopicFacts> {
    if (!NAME.test(name)) throw new GantryError('TOPIC_NOT_FOUND', `there is no topic ${name.slice(0, 127)}`);
    const { resident, clock } = this.#parts;
    const here = resident?.hasAllOf(name) ? resident.broker.state.topicsByName.get(name)?.record : undefined;
    if (here) return here;
    const known = this.#topics.get(name);
    if (known && clock.monotonic() - known.at < FRESH_MS) return known.topic;
    const topic = this.#ask(name);
    this.#topics.delete(name);
    this.#topics.set(name, { at: clock.monotonic(), topic });
    if (this.#topics.size > KEPT) this.#topics.delete(this.#topics.keys().next().value!);
    topic.catch(() => this.#topics.delete(name));
    return topic;
  }

  async #ask(name: string): Promise<TopicFacts> {
    const answer = await this.call('getTopic', { path: { topic: name }, query: {} }, FOREVER);
    return answer.orThrow().json<TopicFacts>();
  }

  async send(topic: string, messages: readonly OutgoingMessage[], signal: AbortSignal): Promise<readonly Sent[]> {
    const { resident } = this.#parts;
    if (resident?.hasAllOf(topic)) {
      const broker = resident.broker.name;
      const { results } = await resident.broker.rooms.sender.send(topic, messages);
      // Records are never delayed: what is stored has its place.
      return results.map((one) => {
        if (one.error) return { error: one.error };
        const { queueId, queueOffset } = one as StoredResult;
        return { broker, queueId, queueOffset };
      });
    }
    return this.#sendElsewhere(topic, messages, signal);
  }

  async #sendElsewhere(topic: string, messages: readonly OutgoingMessage[], signal: AbortSignal): Promise<Sent[]> {
    const bytes = Buffer.from(JSON.stringify({ messages: messages.map(toWire) }));
    const asked = { path: { topic }, query: {} as never, bytes, contentType: 'application/json' };
    const answer = await this.call('sendMessages', asked, signal);
    const { results } = answer.json<{ results?: readonly WireResult[] }>();
    if (!results) throw answer.failure();
    return results.map((one) => (one.error ? { error: errorOf(one.error) } : placeOf(one)));
  }
}

interface WireResult {
  readonly broker?: string;
  readonly queueId?: number;
  readonly queueOffset?: number;
  readonly error?: WireError | undefined;
}

interface WireError {
  readonly code: string;
  readonly detail: string;
  readonly retryable?: boolean;
}

const placeOf = ({ broker, queueId, queueOffset }: WireResult): Sent => ({
  broker: broker!,
  queueId: queueId!,
  queueOffset: queueOffset!,
});

const errorOf = ({ code, detail, retryable }: WireError): GantryError =>
  new GantryError(code in CODES ? (code as Code) : 'SERVICE_NOT_AVAILABLE', detail, {
    ...(retryable === undefined ? {} : { retryable }),
  });

/** Calls of this face are nobody's in particular: what they need to know of a client is given with each. */
export function nobodysCall(contract: Contract): Call<OperationId> {
  const req = new IncomingMessage(new Socket());
  req.url = '/';
  const request = { path: {}, query: {}, headers: {}, body: undefined, bodyBytes: Buffer.alloc(0) };
  return new Call(
    contract.operation('getVersion'),
    request as unknown as Request<OperationId>,
    'kafka-rest',
    req,
    new ServerResponse(req),
  );
}
