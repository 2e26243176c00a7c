/** RocketMQ's offsetMsgId: address, port, position. */
import { idTagBytes, offsetMessageId, positionOfId } from '../../src/broker/offsetMessageId';

const TAG = idTagBytes('192.168.3.77:10911');

test('is IPv4, port and position in upper-case hex', () => {
  expect(offsetMessageId(TAG, 0x0001_0203_0405_06)).toBe(
    'C0A8034D' + '00002A9F' + '0000010203040506'.slice(-16).padStart(16, '0'),
  );
  expect(offsetMessageId(TAG, 7 * 1024 + 3)).toBe('C0A8034D00002A9F0000000000001C03');
});

test('gives the position back to its own broker alone', () => {
  for (const position of [0, 1024, 7171, 2 ** 53 - 1]) {
    const id = Buffer.from(offsetMessageId(TAG, position), 'hex');
    expect(positionOfId(TAG, id)).toBe(position);
    expect(positionOfId(idTagBytes('192.168.3.77:10912'), id)).toBeUndefined();
    expect(positionOfId(idTagBytes('192.168.3.78:10911'), id)).toBeUndefined();
  }
});

test('a position that no journal can have is none', () => {
  const id = Buffer.from(`C0A8034D00002A9FFFFFFFFFFFFFFFFF`, 'hex');
  expect(positionOfId(TAG, id)).toBeUndefined();
});
