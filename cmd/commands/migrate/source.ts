/** The server that is copied from: its address, token and certificates, named by flags and environment of their own. */
import type { Client } from '#client/client.ts'
import { addressList, namespaceOf } from '#client/environment.ts'
import type { TlsOptions } from '#client/types.ts'
import { fromEnvironment } from '../../cli/settings.ts'
import { RefusedError, UsageError, type CommandContext, type FlagSpec } from '../../cli/types.ts'

export const sourceFlags: Readonly<Record<string, FlagSpec>> = {
  'from-address': { type: 'string', placeholder: 'URL[,URL...]', description: 'The server to copy from (HOLDFAST_FROM_ADDR).' },
  'from-token': {
    type: 'string',
    values: ['-'],
    placeholder: '-',
    description: 'Reads its token from standard input, after that of -token=- (else HOLDFAST_FROM_TOKEN).',
  },
  'from-token-file': { type: 'string', placeholder: 'FILE', description: 'File with its token.' },
  'from-namespace': { type: 'string', placeholder: 'PATH', description: 'Namespace to copy from (HOLDFAST_FROM_NAMESPACE).' },
  'from-ca-cert': { type: 'string', placeholder: 'FILE', description: 'PEM file of the authority to trust for it (HOLDFAST_FROM_CACERT).' },
  'from-tls-server-name': { type: 'string', placeholder: 'NAME', description: 'Name to expect in its certificate.' },
  'from-tls-skip-verify': { type: 'bool', description: 'Accept any certificate of it: never in earnest.' },
}

async function sourceToken({ flags, io }: CommandContext): Promise<string> {
  const file = flags.string('from-token-file')
  const token =
    flags.string('from-token') === '-'
      ? await io.readSecret('Token of the source (will be hidden)')
      : file === undefined
        ? fromEnvironment(io, 'FROM_TOKEN')
        : io.readFile(file).trim()
  // The target's token never goes to another server.
  if (token === undefined || token === '')
    throw new UsageError('the source expected a token of its own, got none', 'HOLDFAST_FROM_TOKEN, -from-token-file=FILE or -from-token=-')
  return token
}

function sourceTls({ flags, io }: CommandContext): TlsOptions {
  const ca = flags.string('from-ca-cert') ?? fromEnvironment(io, 'FROM_CACERT')
  const serverName = flags.string('from-tls-server-name')
  return {
    skipVerify: flags.bool('from-tls-skip-verify'),
    ...(ca === undefined ? {} : { ca: io.readFile(ca) }),
    ...(serverName === undefined ? {} : { serverName }),
  }
}

/** A client of the source; the caller closes it. @throws UsageError. */
export async function sourceClient(context: CommandContext, to: Client): Promise<Client> {
  const { flags, io } = context
  const addresses = addressList(flags.string('from-address') ?? fromEnvironment(io, 'FROM_ADDR') ?? '')
  if (addresses.length === 0) throw new UsageError('expected the server to copy from, got none', '-from-address=URL, or HOLDFAST_FROM_ADDR')
  const namespace = namespaceOf(flags.string('from-namespace') ?? fromEnvironment(io, 'FROM_NAMESPACE'))
  const { timeoutMs, retriesMax } = to.options
  const { Client: Made } = await import('#client/client.ts')
  return new Made(
    {
      addresses,
      token: await sourceToken(context),
      tls: sourceTls(context),
      exactNumbers: true,
      ...(namespace === undefined ? {} : { namespace }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(retriesMax === undefined ? {} : { retriesMax }),
    },
    to.tools,
  )
}

/** Both must answer to their tokens; and to copy a cluster onto itself is a mistake. @throws RefusedError. */
export async function checkSides(from: Client, to: Client): Promise<void> {
  for (const [side, client] of [
    ['source', from],
    ['target', to],
  ] as const) {
    const self = await client.raw({ method: 'GET', path: 'auth/token/lookup-self' })
    if (self.status === 403) throw new RefusedError(`the ${side} at ${self.address} does not know the token that was given for it`)
  }
  const [a, b] = [await clusterOf(from), await clusterOf(to)]
  if (a === null || a !== b || (from.options.namespace ?? '') !== (to.options.namespace ?? '')) return
  throw new RefusedError('source and target are the same cluster and namespace', '-address names the target, -from-address the source')
}

async function clusterOf(client: Client): Promise<string | null> {
  const status = await client.with({ token: '', namespace: '' }).raw({ method: 'GET', path: 'sys/seal-status' })
  const id = status.json?.['cluster_id']
  return typeof id === 'string' && id !== '' ? id : null
}
