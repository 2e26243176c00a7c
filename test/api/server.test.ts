/** Life of the listener: before the application, while a client leaves, at the end. */
import { connect } from 'node:net';
import type { Call } from '../../api/operation';
import { HttpServer } from '../../api/server';
import { systemClock } from '../../src/base/clock';
import { silentLog } from '../../src/base/log';
import { answerTo, outcome, speak, startTiny } from './tiny';

const GET = 'GET /v1 HTTP/1.1\r\nHost: a\r\n\r\n';
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function gate<T>() {
  let open!: (value: T) => void;
  const opened = new Promise<T>((resolve) => (open = resolve));
  return { open, opened };
}

test('until it has an application it answers 503 STARTING', async () => {
  const server = new HttpServer({ host: '127.0.0.1', port: 0, clock: systemClock, log: silentLog });
  await server.start();
  expect(outcome(await answerTo(server.address().port, GET))).toEqual({ status: 503, code: 'STARTING' });
  await server.stop();
});

test('a port that is taken is an error of start, and stop works then, too', async () => {
  const tiny = await startTiny();
  const second = new HttpServer({ host: '127.0.0.1', port: tiny.port, clock: systemClock, log: silentLog });
  await expect(second.start()).rejects.toThrow('EADDRINUSE');
  await second.stop();
  await tiny.stop();
});

test('stop before start, and twice', async () => {
  const server = new HttpServer({ host: '127.0.0.1', port: 0, clock: systemClock, log: silentLog });
  await server.stop();
  await server.start();
  await server.stop();
});

test('a client that goes away aborts the signal of its call, and is counted as 499', async () => {
  const started = gate<Call<'getTopic'>>();
  const finished = gate<[string, number]>();
  const getTopic = async (call: Call<'getTopic'>) => {
    started.open(call);
    await new Promise((_, reject) => call.signal.addEventListener('abort', () => reject(call.signal.reason as Error)));
    return { status: 200 };
  };
  const tiny = await startTiny({
    handlers: { getTopic },
    app: { onFinish: (id, status) => finished.open([id, status]) },
  });
  const socket = connect(tiny.port, '127.0.0.1', () => socket.write('GET /v1/topics/a HTTP/1.1\r\nHost: a\r\n\r\n'));
  const call = await started.opened;
  expect([call.signal.aborted, call.gone, tiny.server.connections]).toEqual([false, false, 1]);
  socket.destroy();
  expect(await finished.opened).toEqual(['getTopic', 499]);
  expect([call.signal.aborted, call.gone, tiny.server.connections]).toEqual([true, true, 0]);
  await tiny.stop();
});

test('a client that leaves in the middle of its body is no failure', async () => {
  const finished = gate<[string, number]>();
  const tiny = await startTiny({ app: { onFinish: (id, status) => finished.open([id, status]) } });
  const socket = connect(tiny.port, '127.0.0.1', () => {
    socket.write(
      'POST /v1/topics HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{',
    );
    setTimeout(() => socket.destroy(), 50);
  });
  expect(await finished.opened).toEqual(['createTopic', 499]);
  await tiny.stop();
});

test('the signal of a call that is answered is not aborted', async () => {
  let signal: AbortSignal | undefined;
  const tiny = await startTiny({
    handlers: { getTopic: (call: Call<'getTopic'>) => ((signal = call.signal), { status: 200, body: {} }) },
  });
  await tiny.http.request('GET', '/v1/topics/a');
  await pause(20);
  expect(signal!.aborted).toBe(false);
  await tiny.stop();
});

test('stop lets requests end, takes no new ones, and closes idle connections at once', async () => {
  const started = gate<void>();
  const answer = gate<void>();
  const getTopic = async () => {
    started.open();
    await answer.opened;
    return { status: 200, body: {} };
  };
  const tiny = await startTiny({ handlers: { getTopic }, server: { drainMs: 5000 } });
  const idle = speak(tiny.port, GET, 4000);
  const busy = speak(tiny.port, 'GET /v1/topics/a HTTP/1.1\r\nHost: a\r\n\r\n', 4000);
  await started.opened;
  let stopped = false;
  const stopping = tiny.stop().then(() => (stopped = true));
  expect(outcome(await idle).status).toBe(200);
  expect(await speak(tiny.port, GET, 500)).toBe('');
  expect(stopped).toBe(false);
  answer.open();
  expect(outcome(await busy).status).toBe(200);
  await stopping;
  await tiny.server.stop();
});

test('stop does not wait for a connection that never carried a request', async () => {
  const tiny = await startTiny({ server: { drainMs: 60_000 } });
  const spare = connect(tiny.port, '127.0.0.1');
  const closed = new Promise((resolve) => spare.once('close', resolve));
  await new Promise((resolve) => spare.once('connect', resolve));
  expect(outcome(await answerTo(tiny.port, GET)).status).toBe(200); // so the server has taken the spare one, too
  await tiny.stop();
  await closed;
});

test('stop cuts what does not end in time', async () => {
  const tiny = await startTiny({
    handlers: { getTopic: () => new Promise(() => undefined) },
    server: { drainMs: 100 },
  });
  const heard = speak(tiny.port, 'GET /v1/topics/a HTTP/1.1\r\nHost: a\r\n\r\n', 4000);
  await pause(50);
  await tiny.server.stop();
  expect(await heard).toBe('');
  await tiny.http.close();
});

test('connections over the limit are refused', async () => {
  const tiny = await startTiny({ server: { maxConnections: 1 } });
  const first = connect(tiny.port, '127.0.0.1');
  await new Promise((resolve) => first.once('connect', resolve));
  expect(await speak(tiny.port, GET, 500)).toBe('');
  first.destroy();
  await pause(20);
  expect(outcome(await answerTo(tiny.port, GET)).status).toBe(200);
  await tiny.stop();
});
