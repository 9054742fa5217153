/** Sends the body of an answer that is made while it is sent: no faster than the client takes it, and no further than the client stays. */
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { StreamBody } from '#core/types.ts'

/** How a streamed answer ended. 'gone': its client went away. */
export type StreamEnd = { readonly kind: 'sent' | 'gone' } | { readonly kind: 'failed'; readonly error: unknown }

/**
 * The body behind headers that are written already. Never rejects; `stream` is closed in any case. What fails in it cuts the connection, since the status
 * is gone: a client must not take what it has for the whole.
 */
export async function sendStream(out: ServerResponse, stream: StreamBody): Promise<StreamEnd> {
  const gone = new AbortController()
  const onClose = (): void => gone.abort()
  out.on('close', onClose)
  try {
    for await (const chunk of stream.chunks) {
      if (gone.signal.aborted || out.destroyed) return { kind: 'gone' }
      if (!out.write(chunk)) await drained(out, gone.signal)
      if (gone.signal.aborted || out.destroyed) return { kind: 'gone' }
    }
    out.end()
    return { kind: 'sent' }
  } catch (error) {
    out.destroy()
    return { kind: 'failed', error }
  } finally {
    out.off('close', onClose)
    stream.close()
  }
}

/** Resolves when more may be written, or nothing ever will. */
async function drained(out: ServerResponse, gone: AbortSignal): Promise<void> {
  try {
    await once(out, 'drain', { signal: gone })
  } catch {
    // The client went away: whoever waits looks at that itself.
  }
}
