/** The policies that exist without being written: `root`, `default` (until somebody writes another), `response-wrapping`. */

export const rootPolicyName = 'root'
export const defaultPolicyName = 'default'
export const responseWrappingPolicyName = 'response-wrapping'

/** Never changed by anyone. */
export const immutablePolicyNames: ReadonlySet<string> = new Set([rootPolicyName, responseWrappingPolicyName])

/** What a token may do with itself. Every token has it unless it was made with `no_default_policy`. */
export const defaultPolicyText = `# A token and its own properties: look them up, renew, give back.
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }

# What the token may do, path by path or all at once (the last is for user interfaces).
path "sys/capabilities-self" { capabilities = ["update"] }
path "sys/policies/explain" { capabilities = ["update"] }
path "sys/internal/ui/resultant-acl" { capabilities = ["read"] }

# The entity that the token belongs to.
path "identity/entity/id/{{identity.entity.id}}" { capabilities = ["read"] }
path "identity/entity/name/{{identity.entity.name}}" { capabilities = ["read"] }

# Leases whose id the token knows; the first path is the one of older clients.
path "sys/renew" { capabilities = ["update"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/lookup" { capabilities = ["update"] }

# The token's own cubbyhole.
path "cubbyhole/*" { capabilities = ["create", "read", "update", "delete", "list"] }

# Response wrapping.
path "sys/wrapping/wrap" { capabilities = ["update"] }
path "sys/wrapping/lookup" { capabilities = ["update"] }
path "sys/wrapping/unwrap" { capabilities = ["update"] }

# Hashing as a service.
path "sys/tools/hash" { capabilities = ["update"] }
path "sys/tools/hash/*" { capabilities = ["update"] }

# Signing in to an application through an OIDC provider of this server.
path "identity/oidc/provider/+/authorize" { capabilities = ["read", "update"] }
`

/** What a wrapping token may do. Not for other tokens. */
export const responseWrappingPolicyText = `path "cubbyhole/response" { capabilities = ["create", "read"] }
path "sys/wrapping/unwrap" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
`
