/** What users and groups of the directory get here: policies by their names. */
import type { HandlerContext, PathDef } from '#core/types.ts'
import { recordPaths, Records } from '../accounts.ts'
import { field, optional } from '../fields.ts'
import { configOf } from './config.ts'

interface LdapUser {
  readonly version: number
  readonly policies: readonly string[]
  /** Groups besides those that the directory says. */
  readonly groups: readonly string[]
}
interface LdapGroup {
  readonly version: number
  readonly policies: readonly string[]
}

export const userTable = new Records<LdapUser>('a user of a directory', 'users', 1)
export const groupTable = new Records<LdapGroup>('a group of a directory', 'groups', 1)

/** In the letter case of the mount. */
export const spelled = (name: string, caseSensitive: boolean): string => (caseSensitive ? name : name.toLowerCase())

const spelling = async (name: string, { storage }: HandlerContext): Promise<string> => {
  const config = await configOf(storage).catch(() => null)
  return spelled(name, config?.caseSensitiveNames ?? false)
}
const policiesOf = (context: HandlerContext, present: readonly string[]): string[] => [
  ...(optional<string[]>(context, 'policies')?.map((name) => name.toLowerCase()) ?? present),
]
const policies = field('list', 'Its policies.')

export const mapPaths = (): PathDef[] => [
  ...recordPaths<LdapUser>({
    records: userTable,
    route: 'users',
    parameter: 'name',
    synopsis: 'A user of the directory: policies and groups besides those that the directory says.',
    fields: { policies, groups: field('list', 'Groups of this mount that it is in besides.') },
    change: (context, present) => ({
      policies: policiesOf(context, present?.policies ?? []),
      groups: optional<string[]>(context, 'groups') ?? present?.groups ?? [],
    }),
    describe: (user) => ({ policies: user.policies, groups: user.groups.join(',') }),
    spelling,
    description: 'Users need not be written here to log in.',
  }),
  ...recordPaths<LdapGroup>({
    records: groupTable,
    route: 'groups',
    parameter: 'name',
    synopsis: 'A group of the directory: the policies of those who are in it.',
    fields: { policies },
    change: (context, present) => ({ policies: policiesOf(context, present?.policies ?? []) }),
    describe: (group) => ({ policies: group.policies }),
    spelling,
    description: 'Groups that are not written here give no policy by themselves; external groups of identity may.',
  }),
]
