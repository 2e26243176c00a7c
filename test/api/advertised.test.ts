import { advertisedAddress } from '../../api/advertised';

const both = { hostAddress: '192.0.2.7', hostAddress6: '2001:db8::7' };
const onlyIpv6 = { hostAddress: '127.0.0.1', hostAddress6: '2001:db8::7' };

test.each([
  ['127.0.0.1', both, '127.0.0.1:8080'],
  ['broker-a', both, 'broker-a:8080'],
  ['::1', both, '[::1]:8080'],
  ['fe80::1%eth0', both, '[fe80::1]:8080'],
  ['0.0.0.0', both, '192.0.2.7:8080'],
  ['::', both, '192.0.2.7:8080'],
  ['0:0:0:0:0:0:0:0', both, '192.0.2.7:8080'],
  ['::', onlyIpv6, '[2001:db8::7]:8080'],
  ['0.0.0.0', onlyIpv6, '127.0.0.1:8080'],
  ['::', { hostAddress: '127.0.0.1' }, '127.0.0.1:8080'],
])('a process that listens on %s with %j is called at %s', (host, own, address) => {
  expect(advertisedAddress(host, 8080, own)).toBe(address);
});
