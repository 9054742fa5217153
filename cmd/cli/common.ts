/** Flags and steps that several commands share. */
import { accepted } from '#client/answer.ts'
import type { Call, Secret } from '#client/types.ts'
import { RefusedError, type CommandContext, type FlagSpec } from './types.ts'

export const fieldFlag: Readonly<Record<string, FlagSpec>> = {
  field: { type: 'string', placeholder: 'NAME', description: 'Print only this field, bare.' },
}

/** The first argument; commands say how many they need, and the dispatcher has counted. */
export const firstArg = ({ args }: CommandContext): string => args[0] ?? ''

/** The call's answer. @throws ApiError for a refusal. */
export async function call(context: CommandContext, request: Call): Promise<Secret | null> {
  const client = await context.client()
  const secret = accepted(await client.raw(request), { method: request.method, url: request.path })
  return secret
}

/** `data` of a read. @throws RefusedError when there is nothing at `path`. */
export async function readData(context: CommandContext, path: string): Promise<Readonly<Record<string, unknown>>> {
  const secret = await (await context.client()).read(path)
  if (secret === null) throw new RefusedError(`nothing found at ${path}`)
  return secret.data ?? secret
}

const envelopeKeys = ['request_id', 'data', 'auth', 'wrap_info'] as const

/** As an envelope, which has more than warnings: answers without one (sys/seal-status, an introspection, a provider's discovery) are their own data. */
export const enveloped = (secret: Secret): Secret => (envelopeKeys.some((key) => key in secret) ? secret : { ...secret, data: secret })

/** Prints an answer, or `done` when it has no content. */
export async function printWritten(context: CommandContext, secret: Secret | null, done: string): Promise<void> {
  const answer = secret === null || Object.keys(secret).length === 0 ? null : enveloped(secret)
  // A renewed lease has no data: how long it is good now is what was asked for.
  if (answer?.data || answer?.auth || answer?.wrap_info || answer?.lease_id) return await context.output.secret(answer)
  context.output.warnings(answer)
  context.output.say(`Success! ${done}`)
}

/** A secret argument: as typed, "-" from standard input, or asked for when it is left out. */
export async function secretArg(context: CommandContext, at: number, label: string): Promise<string> {
  const typed = context.args[at]
  const secret = typed === undefined || typed === '-' ? await context.io.readSecret(`${label} (will be hidden)`) : typed
  if (secret === '') throw new RefusedError(`${label.toLowerCase()} expected to be entered, got nothing`)
  return secret
}

/** Drops the keys whose value is undefined: a field that was not said is not sent. */
export function given(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}

/** Without slashes at its ends. */
export const trimSlashes = (path: string): string => path.replace(/^\/+|\/+$/g, '')
