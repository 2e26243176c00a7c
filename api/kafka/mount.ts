/** Puts the face together for one front. */
import type { Chance } from '../../src/base/chance';
import type { Clock } from '../../src/base/clock';
import type { Service } from '../../src/base/life';
import type { Log } from '../../src/base/log';
import { Contract, findDocument } from '../contract';
import { consumerHandlers } from './consumers';
import { readDialect } from './dialects';
import { KafkaFace } from './face';
import { HttpHops } from './hops';
import { Instances } from './instances';
import { metadataHandlers } from './metadata';
import type { Native } from './native';
import type { InstanceNotes } from './notes';
import { produceHandlers } from './produce';
import { recordHandlers } from './recordsOut';
import { clusterHandlers } from './v3/clusters';
import { recordsHandlers } from './v3/recordsIn';

export interface KafkaRestParts {
  readonly native: Native;
  readonly notes: InstanceNotes;
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  /** As --kafka-dialect gives it. */
  readonly dialect: string;
  readonly clusterSecret: string | undefined;
  /** host:port of this front as other fronts call it, once it listens. */
  readonly address: () => string;
}

export class KafkaRest implements Service {
  readonly face: KafkaFace;
  readonly #instances: Instances;
  readonly #hops: HttpHops;

  constructor(parts: KafkaRestParts) {
    const { native, clock } = parts;
    const instances = (this.#instances = new Instances(parts));
    const hops = (this.#hops = new HttpHops(clock, parts.clusterSecret));
    const consumers = { native, instances, hops, clock };
    this.face = new KafkaFace({
      contract: Contract.load(findDocument('kafka-rest.yaml')),
      dialect: readDialect(parts.dialect),
      handlers: {
        ...metadataHandlers(native),
        ...produceHandlers(native),
        ...recordsHandlers(native, clock),
        ...clusterHandlers(native),
        ...consumerHandlers(consumers),
        ...recordHandlers(consumers),
      },
    });
  }

  start(): Promise<void> {
    return this.#instances.start();
  }

  /** Instances stay noted: other fronts go on with them. */
  async stop(): Promise<void> {
    await this.#instances.stop();
    await this.#hops.close();
  }
}
