/** The environment: every GANTRY_ variable is an option, or refused, so that a mistyped name is not silently ignored. */
import { quoted, type Findings, type Given } from './given';
import { didYouMean } from './nearest';
import { environmentNameOf, KEYS, type Key } from './option';

export type Environment = Readonly<Record<string, string | undefined>>;

/** Names the YAML file; `--config` wins over it. */
export const CONFIG_VARIABLE = 'GANTRY_CONFIG';

const PREFIX = 'GANTRY_';
const KEY_OF_NAME: ReadonlyMap<string, Key> = new Map(KEYS.map((key) => [environmentNameOf(key), key]));
const KNOWN_NAMES = [...KEY_OF_NAME.keys(), CONFIG_VARIABLE];

const SERVICE_LINKS =
  'such variables come from Kubernetes for a Service whose name begins with "gantry": set enableServiceLinks: false in the pod';

/** GANTRY_PORT=tcp://10.0.0.1:8080 and its like, which nobody wrote. */
function isServiceLink(name: string, value: string): boolean {
  return /_SERVICE_(HOST|PORT)(_|$)|_PORT_\d+_(TCP|UDP)/.test(name) || /^(tcp|udp):\/\//.test(value);
}

/** Reads all GANTRY_ variables. An empty one counts as not set: that is what `GANTRY_NAME=${NAME:-}` means. */
export function readEnvironment(environment: Environment): Findings {
  const given = new Map<Key, Given>();
  const problems: string[] = [];
  let serviceLinks = false;
  for (const [name, value] of Object.entries(environment).sort(([one], [other]) => (one < other ? -1 : 1))) {
    if (!name.startsWith(PREFIX) || name === CONFIG_VARIABLE || value === undefined || value === '') continue;
    const key = KEY_OF_NAME.get(name);
    serviceLinks ||= isServiceLink(name, value);
    if (key !== undefined) given.set(key, { raw: value, source: { from: 'environment', name } });
    else problems.push(`${quoted(name).slice(1, -1)}: unknown environment variable${didYouMean(name, KNOWN_NAMES)}`);
  }
  if (serviceLinks) problems.push(`${PREFIX}...: ${SERVICE_LINKS}`);
  return { given, problems };
}
