/** The settings of one process: for each option that applies to its role the one value that counts, and its source. */
import { describeSource, placeOf, quoted, type Findings, type Given, type Source } from './given';
import { isWildcard, joinHostPort, resourceName } from './kinds';
import { appliesTo, defaultOf, flagOf, KEYS, optionOf, type Key, type Role, type Values } from './option';

/** The places options are set in, from the strongest to the weakest. Below them is the default. */
export interface Places {
  readonly flags: Findings;
  readonly environment: Findings;
  readonly file: Findings;
}

export interface Settings {
  readonly role: Role;
  readonly values: Values;
  readonly sources: ReadonlyMap<Key, Source>;
  /** What environment and file set for other roles: one file and one image may serve them all. */
  readonly unused: readonly string[];
  /** Everything that is wrong; empty when the process may start. */
  readonly problems: readonly string[];
}

/**
 * Lets the strongest place win for each option and judges the winner. Overridden values are not judged. `hostName`: of
 * this machine, the name of a broker that was given none.
 */
export function settle(role: Role, { flags, environment, file }: Places, hostName: string): Settings {
  const values = new Map<Key, unknown>();
  const sources = new Map<Key, Source>();
  const unused: string[] = [];
  const problems = [...flags.problems, ...environment.problems, ...file.problems];
  for (const key of KEYS) {
    const flag = flags.given.get(key);
    const given = flag ?? environment.given.get(key) ?? file.given.get(key);
    if (appliesTo(key, role)) {
      sources.set(key, given?.source ?? { from: 'default' });
      const value = given === undefined ? defaultOf(key, role) : optionOf(key).kind.read(given.raw);
      if (given !== undefined && value === undefined) problems.push(refuse(key, given));
      else values.set(key, value);
    } else if (flag !== undefined) {
      problems.push(
        `${placeOf(flag.source, key)}: ${quoted(flag.raw)} is not for role ${role}, only for ${optionOf(key).roles.join(' and ')}`,
      );
    } else if (given !== undefined) {
      unused.push(`${key} (${describeSource(given.source)})`);
    }
  }
  if (role === 'broker' && sources.get('name')?.from === 'default') {
    values.set('name', resourceName.read(hostName));
    if (values.get('name') === undefined) problems.push(refuseHostName(hostName));
  }
  const read: Values = Object.fromEntries(values); // each by the kind of its own option
  const settled = withAdvertise(read, sources);
  return { role, values: settled, sources, unused, problems: [...problems, ...contradictions(settled, sources)] };
}

function refuse(key: Key, { raw, source }: Given): string {
  return `${placeOf(source, key)}: ${quoted(raw)} is not allowed, expected ${optionOf(key).kind.allowed}`;
}

const refuseHostName = (hostName: string): string =>
  `--name: needed, since the host name ${quoted(hostName)} cannot be a broker's, expected ${resourceName.allowed}`;

/** Others reach a broker where it listens, if that is an address of its own. */
function withAdvertise(values: Values, sources: ReadonlyMap<Key, Source>): Values {
  const { host, port } = values;
  if (sources.get('advertise')?.from !== 'default' || host === undefined || !port || isWildcard(host)) return values;
  return { ...values, advertise: joinHostPort(host, port) };
}

/** What is allowed for each option alone but not together. Options that were refused already are left out. */
function contradictions(values: Values, sources: ReadonlyMap<Key, Source>): string[] {
  const found = [
    ratiosAscend(values),
    outlivesHeartbeats(values),
    portsDiffer(values),
    intervalHasEffect(values, sources),
  ];
  return found.filter((problem) => problem !== undefined);
}

function ratiosAscend({ diskForceTrimRatio, diskRefuseRatio }: Values): string | undefined {
  if (diskForceTrimRatio === undefined || diskRefuseRatio === undefined) return undefined;
  if (diskForceTrimRatio < diskRefuseRatio) return undefined;
  const flags = ['diskForceTrimRatio', 'diskRefuseRatio'].map(flagOf).join(', ');
  return `${flags}: ${diskForceTrimRatio}, ${diskRefuseRatio} must ascend`;
}

function outlivesHeartbeats({ brokerExpiryMs, heartbeatMs }: Values): string | undefined {
  if (brokerExpiryMs === undefined || heartbeatMs === undefined || brokerExpiryMs > heartbeatMs) return undefined;
  return `--broker-expiry-ms: ${brokerExpiryMs} must be more than --heartbeat-ms ${heartbeatMs}, better more than twice it`;
}

function portsDiffer({ port, nameserverPort }: Values): string | undefined {
  if (port === undefined || port === 0 || port !== nameserverPort) return undefined;
  return `--nameserver-port: ${nameserverPort} is also --port, expected another one`;
}

function intervalHasEffect({ flush }: Values, sources: ReadonlyMap<Key, Source>): string | undefined {
  if (flush !== 'sync' || sources.get('flushIntervalMs')?.from !== 'flag') return undefined;
  return '--flush-interval-ms: has no effect with --flush sync, expected --flush async beside it';
}
