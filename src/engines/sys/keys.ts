/** The keyring of the barrier. */
import { formatRfc3339 } from '#base/rfc3339.ts'
import type { LogicalResponse, PathDef } from '#core/types.ts'
import { answer, effects, path, reads } from './table.ts'
import type { SystemServices } from './types.ts'

export function keyPaths({ barrier }: SystemServices): PathDef[] {
  const status = async (): Promise<LogicalResponse> => {
    const { keyringTerm, keyringTermCreatedMs, encryptions } = barrier.status()
    return answer({ term: keyringTerm ?? 0, install_time: formatRfc3339(keyringTermCreatedMs ?? 0), encryptions })
  }
  const rotate = effects('Add a key', async () => {
    await barrier.rotate()
    return null
  })
  const flags = { injected: true, sudo: true, rootNamespaceOnly: true }
  return [
    path(
      'key-status',
      'The term of the key that seals now.',
      { injected: true, rootNamespaceOnly: true },
      { read: reads('Status', status) },
    ),
    path('rotate', 'Add a key to the keyring; nothing is rewritten.', flags, { update: rotate }),
    path('rotate/keyring', 'Add a key to the keyring; nothing is rewritten.', flags, { update: rotate }),
  ]
}
