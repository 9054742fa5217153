/**
 * A mount that is disabled takes its aliases with it: of entities and of groups. Its accessor is never given again, so nobody can log in by them from
 * that moment on; deleting them is housekeeping, in bounded steps. Groups lose theirs at once, with all whom the mount put into them.
 */
import { removeAlias } from './entities.ts'
import { removeGroupAlias } from './groups.ts'
import { aliasesOf, paths } from './records.ts'
import type { IdentityWriter } from './writer.ts'

const groupsAtOnceMax = 1_024
export const aliasesPerStepMax = 256

/** In the transaction that disables the mount. */
export async function dropMount(writer: IdentityWriter, accessor: string): Promise<void> {
  const groups = await dropGroupAliases(writer, accessor, groupsAtOnceMax)
  const entities = await dropAliases(writer, accessor, aliasesPerStepMax)
  if (groups || entities) writer.mark(paths.gone(accessor))
}

/** One bounded step of what is left; true when there is more. */
export async function goneStep(writer: IdentityWriter): Promise<boolean> {
  const [accessor] = await writer.view.list(writer.section, 'gone', { limit: 1 })
  if (accessor === undefined) return false
  const groups = await dropGroupAliases(writer, accessor, aliasesPerStepMax)
  const entities = groups || (await dropAliases(writer, accessor, aliasesPerStepMax))
  if (!entities) writer.remove(paths.gone(accessor))
  return true
}

async function dropAliases(writer: IdentityWriter, accessor: string, countMax: number): Promise<boolean> {
  const folder = aliasesOf('entity', accessor)
  const names = await writer.view.list(writer.section, folder, { limit: countMax + 1 })
  for (const segment of names.slice(0, countMax)) {
    const id = await writer.text(`${folder}/${segment}`)
    const entity = id === null ? null : await writer.entity(id)
    const alias = entity?.aliases.find(({ mountAccessor }) => mountAccessor === accessor)
    if (entity && alias) removeAlias(writer, entity, alias.id)
    else writer.remove(`${folder}/${segment}`)
  }
  return names.length > countMax
}

async function dropGroupAliases(writer: IdentityWriter, accessor: string, countMax: number): Promise<boolean> {
  const folder = aliasesOf('group', accessor)
  const names = await writer.view.list(writer.section, folder, { limit: countMax + 1 })
  for (const segment of names.slice(0, countMax)) {
    const id = await writer.text(`${folder}/${segment}`)
    const group = id === null ? null : await writer.group(id)
    if (group?.alias?.mountAccessor === accessor) removeGroupAlias(writer, group)
    else writer.remove(`${folder}/${segment}`)
  }
  return names.length > countMax
}
