/** The help: of the whole program, or of one role with its own defaults and examples. */
import {
  appliesTo,
  defaultOf,
  environmentNameOf,
  flagOf,
  GROUPS,
  KEYS,
  optionOf,
  ROLES,
  unsetOf,
  type Key,
  type Role,
} from './option';

const WIDTH = 100;
const INDENT = 6;

const ABOUT: Record<Role, string> = {
  standalone: 'a NameServer and one broker in one process, each on its own port (default)',
  nameserver: 'the registry of brokers and routes, in memory',
  broker: 'HTTP front, broker and storage; registers with every NameServer',
  gateway: 'HTTP front alone, without storage: passes every call on to the brokers',
};

const EXAMPLES: Record<Role | 'all', readonly [string, string, string]> = {
  all: [
    'gantry',
    'gantry nameserver --port 9876',
    'gantry broker --name broker-a --nameservers http://127.0.0.1:9876 --port 8081 --data ./data/broker-a',
  ],
  standalone: [
    'gantry standalone --port 8080 --nameserver-port 9876 --data ./data',
    'gantry standalone --host 0.0.0.0 --advertise queue.example.org:8080 --retention-ms 3600000',
    'GANTRY_PORT=0 GANTRY_LOG_LEVEL=debug gantry standalone',
  ],
  nameserver: [
    'gantry nameserver --host 0.0.0.0 --port 9876',
    'gantry nameserver --broker-expiry-ms 60000 --nameserver-scan-ms 5000',
    'GANTRY_CONFIG=./gantry.yaml gantry nameserver',
  ],
  broker: [
    'gantry broker --name broker-a --nameservers http://127.0.0.1:9876 --port 8081 --data ./data/broker-a',
    'gantry broker --name broker-b --nameservers http://ns1:9876,http://ns2:9876 --host 0.0.0.0 --advertise broker-b:8080',
    'GANTRY_NAME=broker-c gantry broker --config ./gantry.yaml --flush async --flush-interval-ms 50',
  ],
  gateway: [
    'gantry gateway --nameservers http://127.0.0.1:9876',
    'gantry gateway --nameservers http://ns1:9876,http://ns2:9876 --host 0.0.0.0 --port 8090',
    'GANTRY_CLUSTER_SECRET=known-to-all-parts gantry gateway --config ./gantry.yaml',
  ],
};

/** Breaks a text into lines behind `indent` spaces. */
function wrap(text: string, indent: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].map((part) => `${' '.repeat(indent)}${part}`);
}

function show(value: unknown): string {
  return Array.isArray(value) ? value.join(',') || 'none' : String(value);
}

/** `default 8080, nameserver 9876`, or the one that counts for the role. */
function describeDefault(key: Key, role: Role | undefined): string {
  const { default: common, defaultFor, unsetFor } = optionOf(key);
  const unset = unsetOf(key, role);
  if (unset !== '') return `Default: ${unset}.`;
  if (role !== undefined) return `Default ${show(defaultOf(key, role))}.`;
  const others = Object.entries({ ...defaultFor, ...unsetFor }).map(([one, value]) => `, ${one} ${show(value)}`);
  return `Default ${show(common)}${others.join('')}.`;
}

function describeOption(key: Key, role: Role | undefined): string[] {
  const { kind, help, reason, roles } = optionOf(key);
  const only = role === undefined && roles.length < ROLES.length ? ` Only ${roles.join(', ')}.` : '';
  const again = kind.many ? ' May be repeated.' : '';
  return [
    `  ${flagOf(key)} ${kind.placeholder}`,
    ...wrap(`${help} ${reason}`, INDENT),
    ...wrap(`${describeDefault(key, role)}${only}${again} Allowed: ${kind.allowed}.`, INDENT),
    ...wrap(environmentNameOf(key), INDENT),
  ];
}

function describeGroup(group: (typeof GROUPS)[number], role: Role | undefined): string[] {
  const keys = KEYS.filter((key) => optionOf(key).group === group && (role === undefined || appliesTo(key, role)));
  return keys.length === 0 ? [] : ['', group, ...keys.flatMap((key) => describeOption(key, role))];
}

function opening(role: Role | undefined): string[] {
  if (role !== undefined) return [`gantry ${role} [options]`, '', ...wrap(`${role}: ${ABOUT[role]}.`, 0)];
  return [
    'Gantry, a message broker for people who speak plain HTTP.',
    '',
    'gantry [standalone] [options]',
    'gantry nameserver [options]',
    'gantry broker [options]',
    'gantry gateway [options]',
    'gantry config [role] [options]   print the effective configuration, and where it comes from',
    'gantry help [role]               or gantry [role] --help',
    'gantry --version',
    '',
    'Roles',
    ...ROLES.map((one) => `  ${one.padEnd(12)}${ABOUT[one]}`),
  ];
}

const PRECEDENCE =
  'A flag wins over the environment variable below it, that over the YAML file, that over the default. YAML keys are the flags in camelCase: --flush-interval-ms is flushIntervalMs. An empty environment variable counts as not set.';

/** The help of a role, or of the whole program. */
export function helpText(role: Role | undefined): string {
  const lines = [
    ...opening(role),
    '',
    'Examples (in a clone, write "npm start --" for "gantry")',
    ...EXAMPLES[role ?? 'all'].map((example) => `  ${example}`),
    '',
    'Options',
    ...wrap(PRECEDENCE, 2),
    '',
    '  --config <path>',
    ...wrap('YAML file with options. One file may serve all roles: what is not for this one is ignored there.', INDENT),
    ...wrap('GANTRY_CONFIG', INDENT),
    ...GROUPS.flatMap((group) => describeGroup(group, role)),
  ];
  return `${lines.join('\n')}\n`;
}
