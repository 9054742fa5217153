/** The `token_*` fields that every login method has: their schema, reading, showing. What comes of them is `core/login.ts`'s. */
import { HoldfastError } from '#base/errors.ts'
import type { TokenParams } from '#core/login-types.ts'
import type { FieldSchema, HandlerContext } from '#core/types.ts'
import { parseCidr } from '#tokens/cidr.ts'
import { field, optional } from './fields.ts'

export const tokenFields = {
  token_bound_cidrs: field('list', 'Addresses and networks from which its tokens can be used.'),
  token_explicit_max_ttl: field('duration', 'How long its tokens live at most, whatever is renewed.'),
  token_max_ttl: field('duration', 'How long its tokens live at most.'),
  token_no_default_policy: field('bool', 'Its tokens do not get the default policy.'),
  token_period: field('duration', 'Its tokens can be renewed for this long without end.'),
  token_policies: field('list', 'Policies of its tokens.'),
  token_type: field('string', "'service', 'batch', or 'default': as the mount is tuned."),
  token_ttl: field('duration', 'How long its tokens live at first.'),
  token_num_uses: field('int', 'How often its tokens can be used; 0: without limit.'),
} satisfies Readonly<Record<string, FieldSchema>>

export const noTokenParams: TokenParams = {
  policies: [],
  ttlSeconds: 0,
  maxTtlSeconds: 0,
  explicitMaxTtlSeconds: 0,
  periodSeconds: 0,
  numUses: 0,
  boundCidrs: [],
  noDefaultPolicy: false,
  type: 'default',
}

/** Fields by an older name, without the prefix, that some methods still answer to. The new name wins. */
export type OldNames = Readonly<Partial<Record<keyof typeof oldNames, string>>>
const oldNames = { token_policies: '', token_ttl: '', token_max_ttl: '', token_period: '', token_bound_cidrs: '' }

const bad = (message: string): HoldfastError => new HoldfastError('ERR_BAD_REQUEST', message)

/** `present` with what the request says of it. @throws ERR_BAD_REQUEST. */
export function readTokenParams(context: HandlerContext, present: TokenParams, old: OldNames = {}): TokenParams {
  const given = <T>(name: string): T | undefined => {
    const older = (old as Readonly<Record<string, string | undefined>>)[name]
    return optional<T>(context, name) ?? (older === undefined ? undefined : optional<T>(context, older))
  }
  const positive = (name: string): number | undefined => {
    const value = given<number>(name)
    if (value !== undefined && value < 0) throw bad(`'${name}' cannot be negative`)
    return value
  }
  const boundCidrs = given<string[]>('token_bound_cidrs')
  boundCidrs?.forEach(parseCidr)
  const params: TokenParams = {
    policies: given<string[]>('token_policies')?.map((name) => name.toLowerCase()) ?? present.policies,
    ttlSeconds: positive('token_ttl') ?? present.ttlSeconds,
    maxTtlSeconds: positive('token_max_ttl') ?? present.maxTtlSeconds,
    explicitMaxTtlSeconds: positive('token_explicit_max_ttl') ?? present.explicitMaxTtlSeconds,
    periodSeconds: positive('token_period') ?? present.periodSeconds,
    numUses: positive('token_num_uses') ?? present.numUses,
    boundCidrs: boundCidrs ?? present.boundCidrs,
    noDefaultPolicy: given<boolean>('token_no_default_policy') ?? present.noDefaultPolicy,
    type: readType(given<string>('token_type')) ?? present.type,
  }
  if (params.type === 'batch' && params.periodSeconds > 0) {
    throw bad("'token_type' cannot be 'batch' or 'default_batch' when set to generate periodic tokens")
  }
  if (params.type === 'batch' && params.numUses > 0) {
    throw bad("'token_type' cannot be 'batch' or 'default_batch' when set to generate tokens with limited use count")
  }
  if (params.maxTtlSeconds > 0 && params.ttlSeconds > params.maxTtlSeconds) throw bad("'token_ttl' cannot be greater than 'token_max_ttl'")
  return params
}

function readType(type: string | undefined): TokenParams['type'] | undefined {
  switch (type) {
    case undefined:
      return undefined
    case '':
    case 'default':
      return 'default'
    case 'service':
    case 'default-service':
      return 'service'
    case 'batch':
    case 'default-batch':
      return 'batch'
    default:
      throw bad(`invalid 'token_type' value ${JSON.stringify(type.slice(0, 32))}`)
  }
}

/** As clients read them. */
export function describeTokenParams(params: TokenParams): Record<string, unknown> {
  return {
    token_bound_cidrs: params.boundCidrs,
    token_explicit_max_ttl: params.explicitMaxTtlSeconds,
    token_max_ttl: params.maxTtlSeconds,
    token_no_default_policy: params.noDefaultPolicy,
    token_num_uses: params.numUses,
    token_period: params.periodSeconds,
    token_policies: params.policies,
    token_ttl: params.ttlSeconds,
    token_type: params.type,
  }
}
