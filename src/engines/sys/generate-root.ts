/** A root token by the consent of the holders of shares: sys/generate-root/* as older clients know it, bare, and sys/generate-root-token/*. */
import type { HandlerContext, LogicalResponse, PathDef } from '#core/types.ts'
import { rootTokenChars, type RootGenerationStatus } from '#seal/generate-root.ts'
import { answer, effects, field, inQuery, nonceFor, path, reads, shownNonce, text, writes } from './table.ts'
import type { SystemServices } from './types.ts'
import { decodeRootToken } from './root-token.ts'

type Flags = Partial<PathDef>

export function generateRootPaths(services: SystemServices): PathDef[] {
  return [
    ...stepPaths(services, 'generate-root', { bare: true, rootNamespaceOnly: true, openOn: 'generate-root' }),
    ...stepPaths(services, 'generate-root-token', { rootNamespaceOnly: true }),
    decodePath(),
  ]
}

function stepPaths({ rootGeneration }: SystemServices, prefix: string, flags: Flags): PathDef[] {
  const fields = {
    otp: field('string', `A pad of ${rootTokenChars} characters; without it, and without pgp_key, one is made.`, {
      sensitive: true,
      default: '',
    }),
    pgp_key: field('string', 'PGP public key, base64 or armored, that the token is encrypted to.', { default: '' }),
    nonce: inQuery('string', 'To cancel: which attempt. Without a token it must be given.'),
  }
  const update = async (context: HandlerContext): Promise<LogicalResponse> =>
    answer(statusBody(await rootGeneration.update(text(context, 'nonce'), text(context, 'key')), true))
  return [
    path(
      `${prefix}/attempt`,
      'Begin to generate a root token, see how far it is, or cancel it.',
      { ...flags, fields },
      {
        read: writes('Progress', async (context) => answer(statusBody(await rootGeneration.status(), context.token !== null))),
        update: effects('Begin', async (context) =>
          answer(statusBody(await rootGeneration.init({ otp: text(context, 'otp'), pgpKey: text(context, 'pgp_key') }), true)),
        ),
        delete: effects('Cancel', async (context) => {
          await rootGeneration.cancel(nonceFor(context))
          return null
        }),
      },
      "The attempt lives in the leader's memory: it ends when another node leads or this one is sealed.",
    ),
    path(
      `${prefix}/update`,
      'Give one share, to generate a root token.',
      {
        ...flags,
        fields: {
          nonce: field('string', 'What the beginning answered: it names the attempt.', { default: '' }),
          key: field('string', 'One share, as hex or base64.', { sensitive: true, default: '' }),
        },
      },
      { update: effects('Give a share', update) },
    ),
  ]
}

function decodePath(): PathDef {
  const fields = {
    encoded_token: field('string', 'What the last share answered.', { sensitive: true, required: true }),
    otp: field('string', 'The pad that it was generated under.', { sensitive: true, required: true }),
  }
  return path(
    'decode-token',
    'Take the pad off a generated root token. Needs no token; nothing is looked up.',
    { unauthenticated: true, rootNamespaceOnly: true, fields },
    {
      update: reads('Decode', async (context) => answer({ token: decodeRootToken(text(context, 'encoded_token'), text(context, 'otp')) })),
    },
  )
}

function statusBody(status: RootGenerationStatus, named: boolean): Record<string, unknown> {
  return {
    nonce: shownNonce(status.nonce, named),
    started: status.started,
    progress: status.progress,
    required: status.required,
    complete: status.encodedToken !== '',
    encoded_token: status.encodedToken,
    encoded_root_token: status.encodedToken,
    pgp_fingerprint: status.pgpFingerprint,
    otp: status.otp,
    otp_length: rootTokenChars,
  }
}
