/** Tells answers from refusals. Apart from the client, so that what only reads answers does not load the HTTP machinery. */
import { ApiError, type Failure } from './errors.ts'
import type { RawAnswer, Secret } from './types.ts'

/** The answer's envelope, null for 204. @throws ApiError for any status of 400 and above. */
export function accepted(answer: RawAnswer, asked: Failure): Secret | null {
  if (answer.status < 300) return answer.json
  const failure = { method: asked.method, url: `${answer.address}/v1/${asked.url.replace(/^\/+/, '')}` }
  const errors = answer.json?.['errors']
  const hint = answer.json?.['hint']
  const { warnings } = answer.json ?? {}
  // What is not there for a reason is told as a warning: a path of version 1 on an engine of version 2.
  const told = Array.isArray(errors) && errors.length > 0 ? errors : warnings
  const words = Array.isArray(told) ? told.map(String) : []
  throw new ApiError(failure, answer.status, words, typeof hint === 'string' ? hint : undefined, answer.json?.data)
}
