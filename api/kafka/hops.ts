/** Passes a call on to the front that has the instance, as it came, and its answer back. */
import { request, type Dispatcher } from 'undici';
import type { Clock } from '../../src/base/clock';
import { withDeadline } from '../../src/cluster/deadline';
import { secretRefused } from '../client/callRecord';
import { newConnections, wasNeverSent } from '../client/connections';
import { authorization } from '../clusterSecret';
import { HOP_HEADER } from '../operation';
import { STATUS } from '../problem';
import { DIALECT_HEADER } from './dialects';
import type { KafkaAnswer, KafkaCall } from './exchange';
import { KafkaFault } from './faults';

export interface Hops {
  /** Undefined when nobody listens there any more: nothing was done. Throws a KafkaFault when there was no answer. */
  pass(address: string, call: KafkaCall): Promise<KafkaAnswer | undefined>;
  close(): Promise<void>;
}

/** Beyond what the call itself may wait. */
const ANSWER_MS = 10_000;
const PASSED = ['accept', 'content-type', 'x-request-id', DIALECT_HEADER] as const;

export class HttpHops implements Hops {
  readonly #clock: Clock;
  readonly #secret: string | undefined;
  readonly #connections = newConnections();

  constructor(clock: Clock, secret: string | undefined) {
    this.#clock = clock;
    this.#secret = secret;
  }

  async pass(address: string, call: KafkaCall): Promise<KafkaAnswer | undefined> {
    for (let again = false; ; again = true) {
      try {
        return await this.#send(address, call);
      } catch (error) {
        call.signal.throwIfAborted();
        if (error instanceof KafkaFault) throw error;
        if (wasNeverSent(error)) return undefined;
        // What only asks may be asked again: if that front has just died, it cannot be reached now.
        if (again || call.req.method !== 'GET')
          throw new KafkaFault(503, 50301, `The server that has this instance, ${address}, did not answer: try again.`);
      }
    }
  }

  async #send(address: string, call: KafkaCall): Promise<KafkaAnswer> {
    const headers: Record<string, string> = { ...authorization(this.#secret), [HOP_HEADER]: 'kafka-rest' };
    for (const name of PASSED) {
      const value = call.headers[name];
      if (typeof value === 'string') headers[name] = value;
    }
    const body = await call.body();
    const wait = Number(call.query.get('timeout') ?? 0);
    const ms = ANSWER_MS + (wait > 0 ? wait : 30_000);
    return withDeadline(this.#clock, ms, call.signal, async (signal) => {
      const method = call.req.method as Dispatcher.HttpMethod;
      const answer = await request(`http://${address}${call.req.url}`, {
        ...{ method, headers, signal, dispatcher: this.#connections },
        ...(body.length > 0 ? { body } : {}),
      });
      const json = await answer.body.text();
      if (answer.statusCode === STATUS.UNAUTHENTICATED)
        throw new KafkaFault(503, 50301, secretRefused(address).message);
      const type = answer.headers['content-type'];
      return {
        status: answer.statusCode,
        ...(json === '' ? {} : { json }),
        ...(typeof type === 'string' ? { type } : {}),
      };
    });
  }

  close(): Promise<void> {
    return this.#connections.destroy();
  }
}
