/**
 * A gateway's view of the cluster, looked at every few seconds also when nobody calls, so that metrics and log show what
 * changes; and what /readyz says of it.
 */
import { delay, type Clock } from '../src/base/clock';
import { Chore, type Service } from '../src/base/life';
import type { Log } from '../src/base/log';
import type { Fleet, LiveBroker } from '../src/cluster/fleet';
import type { Routes } from '../src/cluster/routes';
import type { BrokerClients } from './client/brokerClient';
import type { HealthCheck } from './handlers/health';

const EVERY_MS = 5000;
/** A broker that does not answer within this time, milliseconds, says nothing about the secret. */
const ANSWER_MS = 1000;

export interface GatewayWatchParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly fleet: Fleet;
  readonly routes: Routes;
  readonly clients: BrokerClients;
}

interface Master extends LiveBroker {
  readonly address: string;
}

export class GatewayWatch implements Service {
  readonly #parts: GatewayWatchParts;
  readonly #chore: Chore;

  constructor(parts: GatewayWatchParts) {
    this.#parts = parts;
    this.#chore = new Chore({
      clock: parts.clock,
      everyMs: EVERY_MS,
      immediately: true,
      runOnce: () => this.checks(),
      onError: (error) => parts.log.error({ err: error }, 'looking at the cluster failed'),
    });
  }

  start(): Promise<void> {
    return this.#chore.start();
  }

  stop(): Promise<void> {
    return this.#chore.stop();
  }

  /** The cluster as it is now; what was asked for in the last half second is not asked for again. */
  async checks(): Promise<HealthCheck[]> {
    const { fleet, routes } = this.#parts;
    const brokers = await fleet.brokersRecently().catch(() => undefined);
    const silent = routes.nameservers().filter(({ reachable }) => !reachable);
    const masters = (brokers ?? []).filter((broker): broker is Master => broker.address !== undefined);
    const { missing } = fleet.standing();
    const names = (some: readonly string[]) => (some.length > 0 ? `; missing: ${some.join(', ')}` : '');
    return [
      {
        name: 'nameserver',
        ok: brokers !== undefined && silent.length < routes.nameservers().length,
        detail: silent.length === 0 ? 'all NameServers answer' : `no answer from ${silent.map(addressOf).join(', ')}`,
      },
      { name: 'brokers', ok: masters.length > 0, detail: `${masters.length} brokers with a master${names(missing)}` },
      await this.#secretCheck(masters),
    ];
  }

  /** Bad when every broker that was asked refuses the secret; one that does not answer may accept it. */
  async #secretCheck(masters: readonly Master[]): Promise<HealthCheck> {
    const { clock, clients } = this.#parts;
    const enough = new AbortController();
    const answers = Promise.all(masters.map(({ address }) => clients.accepts(address, enough.signal)));
    const late = delay(clock, ANSWER_MS, enough.signal).catch(() => undefined);
    await Promise.race([answers, late]);
    enough.abort();
    const refusing = masters.filter(({ address }) => clients.record.last(address) === 'secret_refused');
    return {
      name: 'secret',
      ok: refusing.length === 0 || refusing.length < masters.length,
      detail:
        refusing.length === 0
          ? 'no broker refuses the cluster secret of this gateway'
          : `${refusing.map(({ name }) => name).join(', ')} refuse the cluster secret of this gateway: start all parts with the same --cluster-secret`,
    };
  }
}

const addressOf = ({ address }: { readonly address: string }): string => address;
