/**
 * Baseline (a), a process of its own: a plain node:http server that collects the same request, parses its JSON with
 * JSON.parse and answers JSON of the size that the broker answers, made with JSON.stringify. It stores nothing. Its
 * argument is the broker's answer to one such request; its port goes to the parent, with whom it ends.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const answer = JSON.parse(process.argv[2] ?? '{}') as unknown;

const server = createServer((req, res) => {
  const chunks: Buffer[] = [];
  req.on('data', (chunk: Buffer) => chunks.push(chunk));
  req.on('end', () => {
    const { messages } = JSON.parse(Buffer.concat(chunks).toString()) as { messages: unknown[] };
    const text = JSON.stringify(answer);
    res.writeHead(messages.length > 0 ? 200 : 400, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(text),
    });
    res.end(text);
  });
});

server.listen(0, '127.0.0.1', () => process.send!({ port: (server.address() as AddressInfo).port }));
process.on('disconnect', () => process.exit(0));
