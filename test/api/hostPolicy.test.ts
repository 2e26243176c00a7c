/** Which Host may be asked for, by browsers and by others, on a loopback address and on an open one. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { HostPolicy, type HostNames } from '../../api/hostPolicy';
import { coded } from '../support/broker';

const LOOPBACK = { host: '127.0.0.1', allowedHosts: [] };
const OPEN = { host: '0.0.0.0', advertise: 'mq.example:8080', allowedHosts: ['Other.Example', '.Inside.example'] };

const check = (names: HostNames, host: string | undefined, headers: IncomingHttpHeaders = {}, vouched = false) =>
  new HostPolicy(names).check({ headers: { host, ...headers } } as IncomingMessage, vouched);
const takes = (...parameters: Parameters<typeof check>) => expect(() => check(...parameters)).not.toThrow();
const refuses = (...parameters: Parameters<typeof check>) =>
  expect(() => check(...parameters)).toThrow(expect.objectContaining(coded('MISDIRECTED_REQUEST')));

/** All that a browser says of itself; one of them is enough. */
const BROWSERS: IncomingHttpHeaders[] = [
  { origin: 'http://evil.example:8080' },
  { origin: 'null' },
  { referer: 'http://evil.example:8080/page' },
  ...['site', 'mode', 'dest', 'user'].map((name) => ({ [`sec-fetch-${name}`]: 'same-origin' })),
];

describe.each(BROWSERS)('a browser (%j)', (headers) => {
  test.each([
    ...['127.0.0.1', '127.9.9.9:1', '10.0.0.7:8080', '[::1]', '[::1]:8080', '[2001:DB8::1]:1', '[fe80::1%25eth0]:8080'],
    ...['localhost', 'localhost:8080', 'LOCALHOST.:8080', 'app.localhost:8080', 'localhost:'],
  ])('may ask for %s anywhere', (host) => {
    takes(LOOPBACK, host, headers);
    takes(OPEN, host, headers);
  });

  test.each([
    ...['evil.example', 'evil.example:8080', 'EVIL.example.', 'broker', '', 'localhost.evil.example', 'xlocalhost'],
    ...['127.0.0.1.evil.example', '[evil]', '[::1].evil.example', 'a:b@127.0.0.1', '127.0.0.1@evil.example', '::1:x'],
  ])('may not ask for %j', (host) => {
    refuses(LOOPBACK, host, headers);
    refuses(OPEN, host, headers);
  });

  test('may ask for names that are advertised or configured', () => {
    for (const host of ['mq.example', 'MQ.Example.:1', 'other.example:80', 'a.inside.example', 'a.b.INSIDE.example:2'])
      takes(OPEN, host, headers);
    for (const host of ['inside.example', 'notinside.example', 'x.mq.example', 'mq.example.evil'])
      refuses(OPEN, host, headers);
    takes({ host: 'me.example', allowedHosts: [] }, 'me.example:8080', headers);
    takes({ host: '0.0.0.0', allowedHosts: ['*'] }, 'evil.example', headers);
  });

  test('may ask for any when its page is of an origin that is configured', () => {
    takes(LOOPBACK, 'mq.example', headers, true);
  });
});

describe('a client that is no browser', () => {
  const loopbacks = ['127.0.0.1', '127.1.2.3', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', 'localhost', 'LocalHost'];

  test.each(loopbacks)('may not ask a server at %s for another name of the public DNS', (host) => {
    for (const other of ['evil.example', 'evil.example.:8080']) refuses({ host, allowedHosts: [] }, other);
    // A name without a dot cannot be made to lead here from outside.
    for (const own of ['127.0.0.1:80', 'localhost', 'x', 'broker:8080', '', undefined])
      takes({ host, allowedHosts: [] }, own);
    takes({ host, allowedHosts: ['dev.example'] }, 'dev.example:8080');
  });

  test.each(['0.0.0.0', '::', '10.0.0.7', '2001:db8::1', 'broker-a'])('may ask one at %s for any', (host) => {
    for (const name of ['broker', 'broker.gantry.svc.cluster.local:8080', 'mq.example'])
      takes({ host, allowedHosts: [] }, name);
  });
});

test('one Host after another is judged by itself', () => {
  const policy = new HostPolicy(LOOPBACK);
  const ask = (host: string) => policy.check({ headers: { host } } as IncomingMessage);
  for (let i = 0; i < 3; i++) {
    ask('localhost:1');
    expect(() => ask('evil.example')).toThrow('--allowed-hosts evil.example');
  }
});
