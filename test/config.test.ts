/** The configuration as its user meets it: flags, environment, file, help, printout, and every refusal with its text. */
import { parse } from 'yaml';
import { LIMITS } from '../src/base/limits';
import { parseConfig, type BrokerConfig, type ParsedCommand, type StandaloneConfig } from '../src/config';
import { defaultOf, environmentNameOf, flagOf, KEYS, OPTIONS, optionOf, ROLES } from '../src/config/option';

type Files = Record<string, string>;
type Environment = Record<string, string | undefined>;

function gantry(line: string, environment: Environment = {}, files: Files = {}, hostName = 'host-1'): ParsedCommand {
  const readFile = (path: string): string => {
    const text = files[path];
    if (text === undefined) throw new Error(`ENOENT: no such file or directory, open '${path}'`);
    return text;
  };
  return parseConfig(line.split(' ').filter(Boolean), environment, readFile, hostName);
}

/** The configuration a process would run with. */
function running(line: string, environment: Environment = {}, files: Files = {}) {
  const parsed = gantry(line, environment, files);
  if (parsed.command !== 'run') throw new Error(JSON.stringify(parsed));
  return parsed.config;
}

function standalone(line: string, environment: Environment = {}, files: Files = {}): StandaloneConfig {
  const config = running(line, environment, files);
  if (config.role !== 'standalone') throw new Error(config.role);
  return config;
}

function broker(line: string, environment: Environment = {}, files: Files = {}): BrokerConfig {
  const config = running(`broker ${line}`, environment, files);
  if (config.role !== 'broker') throw new Error(config.role);
  return config;
}

/** The problems of a refusal, without its first and last line. */
function problems(line: string, environment: Environment = {}, files: Files = {}): string[] {
  const parsed = gantry(line, environment, files);
  if (parsed.command !== 'refused') throw new Error(JSON.stringify(parsed));
  return parsed.text
    .trimEnd()
    .split('\n')
    .slice(1, -1)
    .map((problem) => problem.trim());
}

function textOf(parsed: ParsedCommand): string {
  if (!('text' in parsed)) throw new Error(JSON.stringify(parsed));
  return parsed.text;
}

describe('nothing is set', () => {
  const brokerDefaults = {
    kafkaDialect: 'confluent',
    host: '127.0.0.1',
    port: 8080,
    advertise: '127.0.0.1:8080',
    corsOrigins: [],
    allowedHosts: [],
    name: 'broker-a',
    brokerId: 1,
    cluster: 'DefaultCluster',
    data: './data',
    flush: 'sync',
    flushIntervalMs: 200,
    acceptDataLoss: undefined,
    retentionMs: 259_200_000,
    retentionCheckMs: 10_000,
    trustClock: 'no',
    diskForceTrimRatio: 0.85,
    diskRefuseRatio: 0.9,
    heartbeatMs: 30_000,
    defaultQueues: 8,
    maxParkedPolls: LIMITS.parkedPolls,
    maxConnections: LIMITS.connections,
    routeRefreshMs: 30_000,
    sendBackoff: ['550:2000', '1800:5000', '3000:6000', '5000:10000', '15000:30000'],
    tailBytes: LIMITS.tailBytes,
    webhookNetworks: 'public',
    clusterSecret: undefined,
    drainMs: 5000,
    logLevel: 'info',
  };
  const nameserverDefaults = { nameserverScanMs: 10_000, brokerExpiryMs: 120_000, nameserverStartingMs: 35_000 };

  test('a standalone runs', () => {
    expect(gantry('')).toStrictEqual({
      command: 'run',
      role: 'standalone',
      config: { role: 'standalone', ...brokerDefaults, ...nameserverDefaults, nameserverPort: 9876 },
    });
    expect(gantry('standalone')).toStrictEqual(gantry(''));
  });

  test('a broker registers with the NameServer on this machine', () => {
    expect(gantry('broker')).toStrictEqual({
      command: 'run',
      role: 'broker',
      config: { role: 'broker', ...brokerDefaults, name: 'host-1', nameservers: ['http://127.0.0.1:9876'] },
    });
  });

  test('a broker without a name is called like its host, and the printed configuration does not pin that', () => {
    expect(broker('--name b')).toMatchObject({ name: 'b' });
    expect(textOf(gantry('config broker'))).toContain('# name: host-1 (default: the host name)\n');
    expect(textOf(gantry('config'))).toContain('name: broker-a # default\n');
    expect(textOf(gantry('broker --help'))).toContain('Default: the host name.');
    expect(textOf(gantry('broker', {}, {}, 'büro'))).toContain(
      '--name: needed, since the host name "büro" cannot be a broker\'s, expected 1 to 128 of the characters',
    );
    expect(broker('--name b')).toEqual({ ...broker(''), name: 'b' });
  });

  test("a NameServer listens on RocketMQ's port", () => {
    const shared = {
      host: '127.0.0.1',
      port: 9876,
      corsOrigins: [],
      allowedHosts: [],
      clusterSecret: undefined,
      maxConnections: LIMITS.connections,
    };
    expect(gantry('nameserver')).toStrictEqual({
      command: 'run',
      role: 'nameserver',
      config: { role: 'nameserver', ...shared, ...nameserverDefaults, drainMs: 5000, logLevel: 'info' },
    });
  });

  test.each(KEYS)('the default of %s is one it would accept, for every role', (key) => {
    for (const role of ROLES) {
      const value = defaultOf(key, role);
      if (value === undefined) expect(optionOf(key).unset).not.toBe('');
      else
        expect(
          optionOf(key).kind.read(Array.isArray(value) ? value.map(String) : `${value as string | number}`),
        ).toEqual(value);
    }
  });
});

describe('who wins', () => {
  const files = { 'gantry.yaml': 'port: 1\nname: from-file\ncluster: from-file\n' };
  const environment = { GANTRY_CONFIG: 'gantry.yaml', GANTRY_PORT: '2', GANTRY_NAME: 'from-environment' };

  test('a flag over the environment, that over the file, that over the default', () => {
    expect(standalone('--port 3', environment, files)).toMatchObject({
      port: 3,
      name: 'from-environment',
      cluster: 'from-file',
      data: './data',
    });
  });

  test('--config over GANTRY_CONFIG', () => {
    const both = { ...files, 'other.yaml': 'name: other' };
    expect(standalone('--config other.yaml', { GANTRY_CONFIG: 'gantry.yaml' }, both)).toMatchObject({
      name: 'other',
      port: 8080,
    });
  });

  test.each(KEYS)('%s is heard as flag, environment variable and line of the file', (key) => {
    const other: Partial<Record<(typeof KEYS)[number], string>> = {
      host: '::1',
      advertise: 'me.example:1',
      corsOrigins: 'https://a.example',
      allowedHosts: '.a.example',
      flush: 'async',
      nameservers: 'http://ns:1',
      kafkaDialect: 'strimzi',
      logLevel: 'debug',
      diskForceTrimRatio: '0.8',
      diskRefuseRatio: '0.95',
      brokerExpiryMs: '65000',
      tailBytes: '2097152',
      webhookNetworks: 'any',
      clusterSecret: 'a-secret-of-sixteen',
      sendBackoff: '200:1000',
      trustClock: 'yes',
    };
    const text = other[key] ?? '77';
    const role = optionOf(key).roles[0];
    const beside = key === 'flushIntervalMs' ? ' --flush async' : '';
    const byFlag = running(`${role} ${flagOf(key)}=${text}${beside}`);
    expect(byFlag).not.toEqual(running(`${role}${beside}`));
    expect(running(`${role}${beside}`, { [environmentNameOf(key)]: text })).toEqual(byFlag);
    expect(running(`${role} --config f${beside}`, {}, { f: `${key}: ${text}` })).toEqual(byFlag);
  });

  test('a bad value that is overridden does not matter', () => {
    expect(standalone('--port 3', { GANTRY_PORT: 'none' })).toMatchObject({ port: 3 });
  });

  test('an empty environment variable counts as not set', () => {
    expect(
      standalone('', { GANTRY_PORT: '', GANTRY_CONFIG: '', GANTRY_NOTHING: undefined, HOME: '/root' }),
    ).toMatchObject({ port: 8080 });
  });

  test('one environment and one file serve all roles: what is not for this one is left out', () => {
    const shared = { GANTRY_DATA: '/data', GANTRY_HOST: '0.0.0.0', GANTRY_CONFIG: 'f' };
    const config = running('nameserver', shared, { f: 'cluster: C\nbrokerExpiryMs: 5000' });
    expect(config).toMatchObject({ role: 'nameserver', host: '0.0.0.0', brokerExpiryMs: 5000 });
    expect(config).not.toHaveProperty('data');
    expect(config).not.toHaveProperty('cluster');
  });
});

describe('how values are written', () => {
  test('--flag value and --flag=value', () => {
    expect(standalone('--port=0 --data /var/lib/gantry')).toMatchObject({ port: 0, data: '/var/lib/gantry' });
  });

  test('lists are repeated, comma separated, or lists in the file, and nothing counts twice', () => {
    const expected = { nameservers: ['http://a:1', 'http://b:2'] };
    expect(broker('--nameservers http://a:1 --nameservers http://b:2/')).toMatchObject(expected);
    expect(broker('--nameservers http://a:1,http://b:2,http://a:1')).toMatchObject(expected);
    expect(broker('', { GANTRY_NAMESERVERS: 'http://a:1, http://b:2' })).toMatchObject(expected);
    expect(broker('--config f', {}, { f: 'nameservers:\n  - http://a:1\n  - http://b:2\n' })).toMatchObject(expected);
  });

  test.each([
    ['72h', 72 * 3_600_000],
    ['500ms', 500],
    ['10m', 600_000],
    ['1d', 86_400_000],
    ['1h30m', 5_400_000],
    ['1.5s', 1500],
    ['0.001s', 1],
    ['86400000', 86_400_000],
  ])('the duration %s', (text, retentionMs) => {
    expect(standalone(`--retention-ms ${text}`)).toMatchObject({ retentionMs });
    expect(running('', { GANTRY_RETENTION_MS: text })).toMatchObject({ retentionMs });
    expect(running('--config f', {}, { f: `retentionMs: ${text}` })).toMatchObject({ retentionMs });
  });

  test('bytes may have a unit', () => {
    expect(standalone('--tail-bytes 64MiB')).toMatchObject({ tailBytes: 64 * 1024 * 1024 });
  });

  test('text in the file stays the text that was written', () => {
    expect(standalone('--config f', {}, { f: 'name: 007\ncluster: 1e3' })).toMatchObject({
      name: '007',
      cluster: '1e3',
    });
  });

  test.each(['', '# nothing\n', '---\n'])('a file without options (%j) sets nothing', (text) => {
    expect(standalone('--config f', {}, { f: text })).toEqual(standalone(''));
  });

  test('acknowledged data is given up at one index only', () => {
    expect(standalone('--accept-data-loss=41')).toMatchObject({ acceptDataLoss: 41 });
    expect(problems('--accept-data-loss')[0]).toMatch(/^--accept-data-loss: needs a value, expected a whole number/);
  });
});

describe('the advertised address', () => {
  test.each([
    ['--host 10.0.0.7 --port 81', '10.0.0.7:81'],
    ['--host ::1', '[::1]:8080'],
    ['--host 0.0.0.0', undefined],
    ['--host ::', undefined],
    ['--host 0:0::0', undefined],
    ['--port 0', undefined],
    ['--host 0.0.0.0 --advertise broker-a:8080', 'broker-a:8080'],
    ['--port 0 --advertise [2001:db8::1]:80', '[2001:db8::1]:80'],
  ])('%s gives %s', (line, advertise) => {
    expect(standalone(line).advertise).toBe(advertise);
    expect(broker(line).advertise).toBe(advertise);
  });

  test.each([
    'broker-a',
    'broker-a:0',
    'broker-a:65536',
    '0.0.0.0:8080',
    '[::]:80',
    '::1:80',
    '[a]:1',
    'http://a:1',
    '1.2.3:4',
    ':80',
  ])('%s is refused', (address) => {
    expect(problems(`--advertise ${address}`)).toEqual([
      `--advertise: "${address}" is not allowed, expected host:port that others can call, such as broker-a:8080 or [2001:db8::1]:8080 (port 1 to 65535, not 0.0.0.0 or ::)`,
    ]);
  });
});

describe('refused', () => {
  test('with a mistyped role and everything that is misnamed elsewhere', () => {
    expect(problems('brokr --color', { GANTRY_QUUX: '1' }, {})).toEqual([
      expect.stringMatching(/^"brokr": unknown command or role/),
      '--color: unknown flag',
      'GANTRY_QUUX: unknown environment variable',
    ]);
  });

  test('with all problems at once, and the way to the help', () => {
    expect(textOf(gantry('broker --port 99999 --flush maybe --color', { GANTRY_NAME: 'a b' }, {}))).toBe(
      [
        'There are 4 problems with the configuration:',
        '  --color: unknown flag',
        '  --port: "99999" is not allowed, expected a port from 0 to 65535 (0 takes any free one)',
        '  GANTRY_NAME: "a b" is not allowed, expected 1 to 128 of the characters A-Z a-z 0-9 _ . : @ - (but not "." or "..")',
        '  --flush: "maybe" is not allowed, expected one of sync, async',
        'All options: gantry broker --help',
        '',
      ].join('\n'),
    );
  });

  test.each([
    ['--prot 8080', '--prot: unknown flag (did you mean --port?)'],
    ['--flushIntervalMs 5', '--flushIntervalMs: unknown flag (did you mean --flush-interval-ms?)'],
    ['--log debug', '--log: unknown flag (did you mean --log-level?)'],
    ['-port 1', '-port: unknown flag (did you mean --port?)'],
    ['--quiet standalone', '--quiet: unknown flag'],
    ['--', '--: unknown flag'],
    ['--port', '--port: needs a value, expected a port from 0 to 65535 (0 takes any free one)'],
    ['--port --host ::1', '--port: needs a value, expected a port from 0 to 65535 (0 takes any free one)'],
    ['--port 1 --port 2', '--port: given twice, "1" and "2"'],
    ['--config', '--config: needs a value, expected the path of a YAML file'],
    ['--config a --config b', '--config: given twice, "a" and "b"'],
    [
      'brokr',
      '"brokr": unknown command or role (did you mean broker?), expected one of standalone, nameserver, broker, gateway, config, help, version',
    ],
    ['config coordinator', '"coordinator": unknown role, expected one of standalone, nameserver, broker, gateway'],
    ['broker extra', '"extra": unexpected, one role at most is expected'],
  ])('%s', (line, problem) => {
    expect(problems(line, {}, { a: '' })).toEqual([problem]);
  });

  test.each([
    ['--nameservers http://a:1', '--nameservers: "http://a:1" is not for role standalone, only for broker and gateway'],
    ['broker --nameserver-port 1', '--nameserver-port: "1" is not for role broker, only for standalone'],
    ['nameserver --data d', '--data: "d" is not for role nameserver, only for standalone and broker'],
    ['config nameserver --flush sync', '--flush: "sync" is not for role nameserver, only for standalone and broker'],
  ])('%s: a flag the role does not have', (line, problem) => {
    expect(problems(line)).toEqual([problem]);
  });

  test.each([
    ['--port -1', '"-1" is not allowed, expected a port from 0 to 65535 (0 takes any free one)'],
    ['--port 80.5', '"80.5" is not allowed, expected a port from 0 to 65535 (0 takes any free one)'],
    ['--broker-id 0', '"0" is not allowed, expected a whole number from 1 to 1000'],
    [
      '--retention-ms 72hours',
      '"72hours" is not allowed, expected a whole number of milliseconds from 1 to 3153600000000, or with a unit such as 500ms, 10s, 5m, 72h or 1d',
    ],
    [
      '--retention-ms 200000d',
      '"200000d" is not allowed, expected a whole number of milliseconds from 1 to 3153600000000, or with a unit such as 500ms, 10s, 5m, 72h or 1d',
    ],
    [
      '--retention-ms 0.5ms',
      '"0.5ms" is not allowed, expected a whole number of milliseconds from 1 to 3153600000000, or with a unit such as 500ms, 10s, 5m, 72h or 1d',
    ],
    [
      '--drain-ms 1e3',
      '"1e3" is not allowed, expected a whole number of milliseconds from 0 to 600000, or with a unit such as 500ms, 10s, 5m, 72h or 1d',
    ],
    ['--default-queues 1025', '"1025" is not allowed, expected a whole number of queues from 1 to 1024'],
    [
      '--tail-bytes 1KiB',
      '"1KiB" is not allowed, expected a whole number of bytes from 1048576 to 68719476736, or one with a unit such as 64MiB (KiB, MiB, GiB)',
    ],
    [
      '--send-backoff 550',
      '"550" is not allowed, expected any number of values, separated by commas, each two whole numbers of milliseconds up to 3600000, such as 550:2000 (answers from 550 ms on, 2000 ms)',
    ],
    ['--disk-refuse-ratio 75', '"75" is not allowed, expected a number from 0.01 to 0.99'],
    ['--log-level loud', '"loud" is not allowed, expected one of fatal, error, warn, info, debug, silent'],
    ['--host http://a', '"http://a" is not allowed, expected a host name or an IP address (IPv6 without brackets)'],
    ['--host 256.1.1.1', '"256.1.1.1" is not allowed, expected a host name or an IP address (IPv6 without brackets)'],
    [
      '--name ..',
      '".." is not allowed, expected 1 to 128 of the characters A-Z a-z 0-9 _ . : @ - (but not "." or "..")',
    ],
    ['--data=', '"" is not allowed, expected the path of a folder, without control characters'],
    [
      '--cors-origins *',
      '"*" is not allowed, expected any number of values, separated by commas, each https://host or http://host:port as browsers send it',
    ],
    [
      '--allowed-hosts a.example:80',
      '"a.example:80" is not allowed, expected any number of values, separated by commas, each a host name without a port, such as mq.example.org, .example.org for all names below it, or * for any',
    ],
    [
      '--cors-origins https://a.example/',
      '"https://a.example/" is not allowed, expected any number of values, separated by commas, each https://host or http://host:port as browsers send it',
    ],
  ])('%s: a value that is not allowed', (line, problem) => {
    expect(problems(line)).toEqual([`${line.split(/[ =]/)[0]}: ${problem}`]);
  });

  test.each(['https://a:1', 'http://a', 'a:1', 'http://a:1/path', 'http://u:p@a:1', 'http://0.0.0.0:1', ','])(
    'NameServer %s',
    (url) => {
      expect(problems(`broker --nameservers ${url}`)[0]).toBe(
        `--nameservers: "${url}" is not allowed, expected at least 1 value, separated by commas, each http://host:port`,
      );
    },
  );

  test.each([
    ['--disk-force-trim-ratio 0.9', '--disk-force-trim-ratio, --disk-refuse-ratio: 0.9, 0.9 must ascend'],
    ['--disk-refuse-ratio 0.8', '--disk-force-trim-ratio, --disk-refuse-ratio: 0.85, 0.8 must ascend'],
    [
      '--broker-expiry-ms 30000',
      '--broker-expiry-ms: 30000 must be more than --heartbeat-ms 30000, better more than twice it',
    ],
    ['--port 9876', '--nameserver-port: 9876 is also --port, expected another one'],
    ['--flush-interval-ms 5', '--flush-interval-ms: has no effect with --flush sync, expected --flush async beside it'],
  ])('%s: options that contradict each other', (line, problem) => {
    expect(problems(line)).toEqual([problem]);
  });

  test('two ports that take any free one are not the same port', () => {
    expect(standalone('--port 0 --nameserver-port 0')).toMatchObject({ port: 0, nameserverPort: 0 });
  });

  test('a NameServer alone does not know how often brokers call', () => {
    expect(running('nameserver --broker-expiry-ms 50')).toMatchObject({ brokerExpiryMs: 50 });
  });
});

describe('the environment refused', () => {
  test('a variable no option has, with the nearest one', () => {
    expect(problems('', { GANTRY_PROT: '1', GANTRY_DATA_DIR: 'd', GANTRY_XYZZY: '', GANTRY_QUUX: '1' })).toEqual([
      'GANTRY_DATA_DIR: unknown environment variable (did you mean GANTRY_DATA?)',
      'GANTRY_PROT: unknown environment variable (did you mean GANTRY_PORT?)',
      'GANTRY_QUUX: unknown environment variable',
    ]);
  });

  test('what Kubernetes sets for a Service named gantry is explained', () => {
    const found = problems('', { GANTRY_PORT: 'tcp://10.0.0.1:8080', GANTRY_SERVICE_HOST: '10.0.0.1' });
    expect(found.at(-1)).toMatch(/^GANTRY_PORT: "tcp:\/\/10.0.0.1:8080" is not allowed/);
    expect(found.join('\n')).toMatch(/such variables come from Kubernetes .* set enableServiceLinks: false in the pod/);
  });
});

describe('the file refused', () => {
  const refusedFile = (text: string) => problems('--config f.yaml', {}, { 'f.yaml': text });

  test.each([
    ['prot: 1', '"prot" in f.yaml: unknown option (did you mean port?)'],
    ['nameserver-port: 1', '"nameserver-port" in f.yaml: unknown option (did you mean nameserverPort?)'],
    ['__proto__: 1', '"__proto__" in f.yaml: unknown option'],
    ['config: other.yaml', '"config" in f.yaml: unknown option'],
    ['port: 70000', 'port in f.yaml: "70000" is not allowed, expected a port from 0 to 65535 (0 takes any free one)'],
    ['port:', 'port in f.yaml: "" is not allowed, expected a port from 0 to 65535 (0 takes any free one)'],
    ['port: [1]', 'port in f.yaml: "1" is not allowed, expected a port from 0 to 65535 (0 takes any free one)'],
    ['port: {a: 1}', 'port in f.yaml: expected a value or a list of values, not something nested'],
    ['- port', 'f.yaml: expected one map of options, such as "port: 8080"'],
    ['port: 1\nport: 2', 'f.yaml: Map keys must be unique at line 2, column 1'],
    ['port: *x', 'f.yaml: Unresolved alias (the anchor must be set before the alias): x'],
    ['port: !port 1', 'f.yaml: Unresolved tag: !port at line 1, column 7'],
  ])('%j', (text, problem) => {
    expect(refusedFile(text)).toEqual([problem]);
  });

  test('a path cannot break out of its line', () => {
    expect(problems('', { GANTRY_CONFIG: 'a\nb' }, { 'a\nb': 'prot: 1' })).toEqual([
      '"prot" in a?b: unknown option (did you mean port?)',
    ]);
    expect(textOf(gantry('config', { GANTRY_CONFIG: 'a\nb' }, { 'a\nb': 'port: 1' }))).toContain(
      'port: 1 # file a?b\n',
    );
  });

  test('one that cannot be read', () => {
    expect(problems('', { GANTRY_CONFIG: 'gone.yaml' })).toEqual([
      "gone.yaml: cannot be read: ENOENT: no such file or directory, open 'gone.yaml'",
    ]);
  });
});

describe('gantry config', () => {
  const files = { 'gantry.yaml': 'cluster: "8"\nnameservers: [http://a:1, http://b:2]\nretentionMs: 1000\n' };
  const environment = { GANTRY_NAME: '007', GANTRY_NAMESERVER_SCAN_MS: '500' };

  test('does not print what nobody must see', () => {
    const printed = textOf(gantry('config', { GANTRY_CLUSTER_SECRET: 'a-secret-of-sixteen' }));
    expect(printed).not.toContain('a-secret-of-sixteen');
    expect(printed).toContain('# clusterSecret: set, and not shown');
  });

  test('prints each value with where it came from', () => {
    const text = textOf(
      gantry('config broker --host 0.0.0.0 --config gantry.yaml --cors-origins https://a.example', environment, files),
    );
    expect(text.split('\n')).toEqual(
      expect.arrayContaining([
        '# The effective configuration of: gantry broker',
        '# Network',
        'host: 0.0.0.0 # flag --host',
        'port: 8080 # default',
        '# advertise: not set (default: host:port, or worked out at start when the host is 0.0.0.0 or :: or the port is 0)',
        'corsOrigins: [ https://a.example ] # flag --cors-origins',
        'name: "007" # environment GANTRY_NAME',
        'cluster: "8" # file gantry.yaml',
        'nameservers: [ http://a:1, http://b:2 ] # file gantry.yaml',
        '# Set, but not for this role: nameserverScanMs (environment GANTRY_NAMESERVER_SCAN_MS)',
      ]),
    );
    expect(parse(text)).toMatchObject({
      host: '0.0.0.0',
      name: '007',
      cluster: '8',
      retentionMs: 1000,
      corsOrigins: ['https://a.example'],
    });
  });

  test.each([
    ['standalone', '--data /a#b --accept-data-loss 7 --disk-force-trim-ratio .5'],
    ['standalone', '--host :: --flush async --flush-interval-ms 3 --tail-bytes 64MiB'],
    ['nameserver', '--cors-origins https://a.example,http://b.example:81'],
    ['broker', '--port 0 --config gantry.yaml'],
    ['broker', ''],
  ])('printed for a %s with "%s", read again, gives the same configuration', (role, line) => {
    const text = textOf(gantry(`config ${role} ${line}`, environment, files));
    const again = running(`${role} --config printed.yaml`, {}, { 'printed.yaml': text });
    expect(again).toStrictEqual(running(`${role} ${line}`, environment, files));
  });

  test('a saved printout does not pin the advertised address to an old port', () => {
    const saved = textOf(gantry('config broker'));
    expect(saved).toContain('# advertise: 127.0.0.1:8080 (default: host:port');
    const moved = saved.replace('port: 8080', 'port: 8081');
    expect(broker('--config f', {}, { f: moved })).toMatchObject({ port: 8081, advertise: '127.0.0.1:8081' });
  });

  test('without a role it is the standalone one', () => {
    expect(gantry('config --port 1')).toStrictEqual(gantry('config standalone --port 1'));
  });

  test('what could not start is not printed', () => {
    expect(problems('config --port x')).toHaveLength(1);
  });
});

describe('gantry help', () => {
  test.each(['help', '--help', '-h', '--port x --help', 'brokr --help', '--help --version'])(
    '%s: the whole program',
    (line) => {
      expect(gantry(line)).toStrictEqual(gantry('help'));
      expect(gantry(line).command).toBe('help');
    },
  );

  test('has every option with its flag, environment variable and default', () => {
    const text = textOf(gantry('help'));
    for (const key of KEYS) {
      expect(text).toContain(`  ${flagOf(key)} ${optionOf(key).kind.placeholder}\n`);
      expect(text).toMatch(new RegExp(`^ +${environmentNameOf(key)}$`, 'm'));
    }
    expect(text).toContain('Default 8080, nameserver 9876.');
    expect(text).toContain('GANTRY_CONFIG');
  });

  test.each(ROLES)('%s: its own options and defaults only', (role) => {
    const text = textOf(gantry(`${role} --help`));
    expect(gantry(`help ${role}`)).toStrictEqual({ command: 'help', text });
    for (const key of KEYS) expect(text.includes(`  ${flagOf(key)} `)).toBe(optionOf(key).roles.includes(role));
    expect(text).toContain(`Default ${role === 'nameserver' ? 9876 : 8080}.`);
  });

  test.each(['', ...ROLES])('the three examples of "%s" start', (role) => {
    const lines = textOf(gantry(`help ${role}`)).split('\n');
    const first = lines.findIndex((line) => line.startsWith('Examples')) + 1;
    const examples = lines.slice(first, lines.indexOf('', first));
    expect(examples).toHaveLength(3);
    for (const example of examples) {
      const [set = '', line = ''] = example.trim().split(/gantry(?: |$)(.*)/);
      const environment = Object.fromEntries(
        set
          .split(' ')
          .filter(Boolean)
          .map((pair) => pair.split('=') as [string, string]),
      );
      expect(gantry(line, environment, { './gantry.yaml': '' }).command).toBe('run');
    }
  });

  test('fits a terminal, but for examples', () => {
    for (const line of textOf(gantry('help')).split('\n')) {
      if (!line.startsWith('  gantry')) expect(line.length).toBeLessThanOrEqual(100);
    }
  });

  test('names the loss window of --flush async', () => {
    expect(textOf(gantry('broker --help')).replace(/\s+/g, ' ')).toContain(
      'a power cut or a crash of the machine loses',
    );
  });

  test('for a role that does not exist is refused', () => {
    expect(problems('help brokr')).toEqual([
      '"brokr": unknown role (did you mean broker?), expected one of standalone, nameserver, broker, gateway',
    ]);
  });
});

test.each(['--version', '-V', 'version', 'broker --version'])('%s', (line) => {
  expect(gantry(line)).toEqual({ command: 'version' });
});

test('every option has its reason and its help', () => {
  for (const option of Object.values(OPTIONS)) {
    expect(option.help).toMatch(/\.$/);
    expect(option.reason).toMatch(/\.$/);
  }
});
