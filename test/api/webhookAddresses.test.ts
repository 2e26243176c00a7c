/** Where webhooks may lead: the public internet, by address or by name, and nowhere that only the broker reaches. */
import dns from 'node:dns';
import { isPublic, WebhookAddresses } from '../../api/client/webhookAddresses';
import { GantryError } from '../../src/base/errors';

const open = new WebhookAddresses('public');
const any = new WebhookAddresses('any');

afterEach(() => jest.restoreAllMocks());

const REFUSED = expect.objectContaining({ code: 'WEBHOOK_REFUSED' }) as unknown;

function refusal(url: string, addresses = open): string {
  try {
    addresses.check(url);
  } catch (error) {
    if (error instanceof GantryError && error.code === 'WEBHOOK_REFUSED') return error.message;
    throw error;
  }
  return 'allowed';
}

test.each([
  [
    '8.8.8.8',
    '1.1.1.1',
    '93.184.215.14',
    '100.63.255.255',
    '172.15.0.1',
    '172.32.0.1',
    '192.167.1.1',
    '223.255.255.254',
  ],
  ['2001:4860:4860::8888', '2606:4700:4700::1111', '2a00:1450:4001:80b::200e', '2003::1', '3ffe::1'],
])('public addresses: %s …', (...addresses) => {
  for (const address of addresses) {
    const url = address.includes(':') ? `https://[${address}]/` : `https://${address}/`;
    expect([address, isPublic(address), refusal(url)]).toEqual([address, true, 'allowed']);
  }
});

test.each([
  ['this machine', '127.0.0.1', '127.255.255.254', '0.0.0.0', '::1', '::'],
  ['private networks', '10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', 'fc00::1', 'fdff::1', 'fec0::1'],
  ['links, with the metadata of clouds', '169.254.169.254', 'fe80::1', 'febf::1'],
  ['carriers, tests, benchmarks, books', '100.64.0.1', '100.127.0.1', '192.0.2.1', '198.18.0.1', '198.51.100.7'],
  ['books in IPv6', '2001:db8::1', '3fff::1', '203.0.113.9'],
  ['groups and what is reserved', '224.0.0.1', '239.1.1.1', '240.0.0.1', '255.255.255.255', 'ff02::1'],
  ['IPv4 in IPv6', '::ffff:127.0.0.1', '::ffff:8.8.8.8', '::127.0.0.1', '64:ff9b::10.0.0.1', '64:ff9b:1::1'],
  ['tunnels', '2002:7f00:1::', '2001::1', '192.88.99.1', '5f00::1', '100::1'],
])('%s are not public', (_, ...addresses) => {
  for (const address of addresses) {
    const url = address.includes(':') ? `https://[${address}]/` : `https://${address}/`;
    expect([address, isPublic(address)]).toEqual([address, false]);
    expect(refusal(url)).toMatch(/is not a public address: start the broker with --webhook-networks any to allow it$/);
    expect(refusal(url, any)).toBe('allowed');
  }
});

test.each([
  ['http://2130706433/'],
  ['http://0x7f000001/'],
  ['http://0x7f.1/'],
  ['http://017700000001/'],
  ['http://127.1/'],
  ['http://0/'],
  ['http://127.0.0.1./'],
  ['http://①②⑦.0.0.1/'],
  ['http://%31%32%37.0.0.1/'],
  ['http://[0:0:0:0:0:ffff:7f00:1]/'],
  ['http://[::FFFF:127.0.0.1]:80/'],
  ['http://localhost:8080/'],
  ['http://LOCALHOST./'],
  ['http://bank.localhost/'],
])('%s is this machine, however it is written', (url) => {
  expect(refusal(url)).toContain('is not a public address');
  expect(refusal(url, any)).toBe('allowed');
});

test.each([
  ['http://localhost.example.com/', 'allowed'],
  ['http://notlocalhost/', 'allowed'],
  ['https://user@example.com/', 'no user name and no password'],
  ['https://:password@example.com/', 'no user name and no password'],
  ['ftp://example.com/', 'ftp: is not called, http: and https: are'],
  ['file:///etc/passwd', 'file: is not called'],
  ['gopher://127.0.0.1:6379/_x', 'gopher: is not called'],
  ['urn:uuid:1', 'urn: is not called'],
  ['https://example.com:99999/', 'cannot be read'],
  ['https://256.1.1.1/', 'cannot be read'],
  ['http:', 'cannot be read'],
  ['', 'cannot be read'],
])('%j: %s, on any networks', (url, words) => {
  for (const addresses of [open, any]) expect(refusal(url, addresses)).toContain(words);
});

type Found = { address: string; family: number }[];
type Lookup = (name: string, options: object, done: (error: Error | null, found?: Found) => void) => void;

/** What the system's resolver answers from now on; tells for which names it was asked. */
function resolver(answer: (name: string) => Found | Promise<Found>): string[] {
  const asked: string[] = [];
  const fake: Lookup = (name, _, done) => {
    asked.push(name);
    void Promise.resolve()
      .then(() => answer(name))
      .then(
        (found) => done(null, found),
        (error: Error) => done(error),
      );
  };
  jest.spyOn(dns, 'lookup').mockImplementation(fake as never);
  return asked;
}

const v4 = (...addresses: string[]): Found => addresses.map((address) => ({ address, family: 4 }));

/** What a connection would be made to. */
const connectable = (addresses: WebhookAddresses, name: string, all = true): Promise<unknown> =>
  new Promise((resolve, reject) => {
    addresses.lookup(name, { all }, (error, found, family) =>
      error ? reject(error) : resolve(all ? found : { address: found, family }),
    );
  });

describe('a name', () => {
  test('leads to its public addresses alone', async () => {
    resolver(() => [...v4('10.0.0.1', '8.8.8.8', '127.0.0.1'), { address: '2606:4700::1', family: 6 }]);
    const found = [...v4('8.8.8.8'), { address: '2606:4700::1', family: 6 }];
    expect(await connectable(open, 'bank.example')).toEqual(found);
    expect(await connectable(open, 'bank.example', false)).toEqual(found[0]);
    await open.checkName('bank.example');
    expect(await connectable(any, 'bank.example')).toHaveLength(4);
  });

  test.each([[v4('10.0.0.1')], [v4('127.0.0.1', '169.254.169.254')], [[{ address: 'fe80::1%eth0', family: 6 }]], [[]]])(
    'that leads to %j alone is refused when it is set, and when it is called',
    async (found) => {
      resolver(() => found);
      await expect(connectable(open, 'bank.example')).rejects.toEqual(REFUSED);
      await expect(open.checkName('bank.example')).rejects.toEqual(REFUSED);
      expect(await connectable(any, 'bank.example')).toEqual(found);
    },
  );

  test('that is unknown may be set: it may be known when it is called', async () => {
    resolver(() => Promise.reject(new Error('ENOTFOUND')));
    await open.checkName('bank.example');
    await expect(connectable(open, 'bank.example')).rejects.toThrow('ENOTFOUND');
  });

  test('is not resolved when it is none, or when any address will do', async () => {
    const asked = resolver(() => v4('10.0.0.1'));
    await open.checkName('8.8.8.8');
    await any.checkName('bank.example');
    expect(asked).toEqual([]);
  });

  test.each([
    ['public', open],
    ['any', any],
  ])('waits until the one before is resolved: %s', async (_, addresses) => {
    let answer: (found: Found) => void = () => undefined;
    const slow = new Promise<Found>((resolve) => (answer = resolve));
    const asked = resolver((name) => (name === 'slow.example' ? slow : v4('8.8.8.8')));
    const both = [connectable(addresses, 'slow.example'), connectable(addresses, 'quick.example')];
    await new Promise((resolve) => setImmediate(resolve));
    expect(asked).toEqual(['slow.example']);
    answer(v4('1.1.1.1'));
    expect(await Promise.all(both)).toEqual([v4('1.1.1.1'), v4('8.8.8.8')]);
  });
});
