/**
 * Several Kafka REST faces in one process, each on a port of its own, before one broker: what a client behind a load
 * balancer sees. They share the notes about instances; a face that is killed takes what was in its memory with it.
 */
import express from 'express';
import pino from 'pino';
import { BrokerClients } from '../../api/client/brokerClient';
import { KafkaRest } from '../../api/kafka/mount';
import type { Native } from '../../api/kafka/native';
import type { InstanceNotes } from '../../api/kafka/notes';
import type { TopicFacts } from '../../api/kafka/partitions';
import { HostPolicy } from '../../api/hostPolicy';
import { OriginPolicy } from '../../api/origin';
import { RequestIds } from '../../api/arrival';
import { HttpServer } from '../../api/server';
import { systemChance } from '../../src/base/chance';
import { systemClock, type Clock } from '../../src/base/clock';
import { silentLog } from '../../src/base/log';
import { contract } from './node';

const log = pino({ level: 'silent' });

/** The native operations of a broker, over HTTP. Sends go past it: tests send by the broker's own front. */
export function nativeOf(url: string, clients: BrokerClients): Native {
  const address = new URL(url).host;
  return {
    call: (op, asked, signal) => clients.call(address, op, asked, { signal }),
    async topic(name) {
      const asked = { path: { topic: name }, query: {} };
      const answer = await clients.call(address, 'getTopic', asked, { signal: new AbortController().signal });
      return answer.orThrow().json<TopicFacts>();
    },
    send: () => Promise.reject(new Error('send by the broker')),
  };
}

export class KafkaFront {
  readonly #rest: KafkaRest;
  readonly #server = new HttpServer({ host: '127.0.0.1', port: 0, clock: systemClock, log, drainMs: 0 });
  readonly #clients = new BrokerClients({
    clock: systemClock,
    contract,
    secret: undefined,
    from: 'test',
    log: silentLog,
  });
  #address = '';

  static async start(broker: string, notes: InstanceNotes, clock: Clock = systemClock): Promise<KafkaFront> {
    const front = new KafkaFront(broker, notes, clock);
    await front.#server.start();
    front.#address = new URL(front.#server.address().url).host;
    await front.#rest.start();
    return front;
  }

  private constructor(broker: string, notes: InstanceNotes, clock: Clock) {
    this.#rest = new KafkaRest({
      native: nativeOf(broker, this.#clients),
      ...{ notes, clock, chance: systemChance, log },
      dialect: 'confluent',
      clusterSecret: undefined,
      address: () => this.#address,
    });
    const rim = {
      ...{ clock: systemClock, log, requestIds: new RequestIds(systemChance), origins: new OriginPolicy([]) },
      hosts: new HostPolicy({ host: '127.0.0.1', allowedHosts: [] }),
      ...{ ready: () => true, clusterSecret: undefined, onFinish: undefined },
    };
    const app = express();
    app.use(this.#rest.face.middleware(rim));
    this.#server.serve(app);
  }

  get url(): string {
    return `http://${this.#address}`;
  }

  /** Without a word to anybody. */
  async kill(): Promise<void> {
    await this.#server.stop();
    await this.#rest.stop();
    await this.#clients.close();
  }
}
