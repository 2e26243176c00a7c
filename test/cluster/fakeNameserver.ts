import { silentLog } from '../../src/base/log';
import { LocalNameserver } from '../../src/cluster/localNameserver';
import type { NameserverPeer } from '../../src/cluster/nameserverPeer';
import { Nameserver } from '../../src/nameserver/nameserver';
import type { Registration, RegistrationAnswer } from '../../src/nameserver/route';
import type { ManualClock } from '../support/clock';

/** A real NameServer behind a network that a test can cut or clog. */
export class FakeNameserver implements NameserverPeer {
  readonly address: string;
  /** Every registration that was sent, in order, answered or not. */
  readonly sent: Registration[] = [];
  /** UP answers; DOWN refuses the connection; HUNG never answers; LOSING does what is asked, but the answer is lost. */
  network: 'UP' | 'DOWN' | 'HUNG' | 'LOSING' = 'UP';
  nameserver: Nameserver;
  #peer: NameserverPeer;
  readonly #clock: ManualClock;

  constructor(address: string, clock: ManualClock) {
    this.address = address;
    this.#clock = clock;
    this.nameserver = new Nameserver({ clock, log: silentLog });
    this.#peer = new LocalNameserver(() => address, this.nameserver);
  }

  /** A new process at the same address, which knows nothing. */
  restart(): void {
    this.nameserver = new Nameserver({ clock: this.#clock, log: silentLog });
    this.#peer = new LocalNameserver(() => this.address, this.nameserver);
  }

  get modes(): readonly string[] {
    return this.sent.map((registration) => registration.mode);
  }

  get topics(): readonly string[] {
    return this.nameserver.routes(undefined, 1000).routes.map((route) => route.topic);
  }

  register(...args: Parameters<NameserverPeer['register']>): Promise<RegistrationAnswer> {
    this.sent.push(args[3]);
    return this.#through(() => this.#peer.register(...args));
  }

  unregister(...args: Parameters<NameserverPeer['unregister']>): Promise<void> {
    return this.#through(() => this.#peer.unregister(...args));
  }

  route(...args: Parameters<NameserverPeer['route']>) {
    return this.#through(() => this.#peer.route(...args));
  }

  routes(...args: Parameters<NameserverPeer['routes']>) {
    return this.#through(() => this.#peer.routes(...args));
  }

  clusterView(...args: Parameters<NameserverPeer['clusterView']>) {
    return this.#through(() => this.#peer.clusterView(...args));
  }

  async #through<T>(call: () => Promise<T>): Promise<T> {
    if (this.network === 'DOWN') throw new Error('connect ECONNREFUSED');
    if (this.network === 'HUNG') return new Promise<never>(() => undefined);
    const answer = await call();
    if (this.network === 'LOSING') throw new Error('socket hang up');
    return answer;
  }
}
