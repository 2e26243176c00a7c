/** Answers that reached nobody. */
import type { Call, OperationId } from './operation';

/**
 * Calls `act` when the answer is not written to its end. When the connection breaks under an answer, Node calls the
 * answer finished all the same; that the socket is destroyed by then tells it.
 */
export function ifUnread({ req, res, gone }: Pick<Call<OperationId>, 'req' | 'res' | 'gone'>, act: () => void): void {
  if (gone) return act();
  const { socket } = req;
  res.once('close', () => void ((res.writableFinished && !socket.destroyed) || act()));
}
