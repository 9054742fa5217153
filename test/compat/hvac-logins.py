"""Tokens of identity, and the flows of JWT, Kubernetes, LDAP and certificates with hvac, as its documentation has them. Prints one line of JSON a step."""

import json
import sys

import hvac

from steps import refused, step

address, root_token, given = sys.argv[1], sys.stdin.readline().strip(), json.loads(sys.stdin.readline())
client = hvac.Client(url=address, token=root_token)
identity = client.secrets.identity

client.sys.create_or_update_policy("tokens", 'path "identity/oidc/token/*" { capabilities = ["read"] }')
client.sys.enable_auth_method("userpass", path="crew")
client.auth.userpass.create_or_update_user("ada", password="s3cret", policies=["tokens"], mount_point="crew")
person = hvac.Client(url=address)
entity = person.auth.userpass.login("ada", "s3cret", mount_point="crew")["auth"]["entity_id"]

# Tokens of identity
identity.configure_tokens_backend(issuer="https://python-hvac.example.com:1234")
seen = identity.read_tokens_backend_configuration()["data"]
step("issuer", seen["issuer"] == "https://python-hvac.example.com:1234", seen)
identity.configure_tokens_backend(issuer="")
identity.create_named_key(name="hvac-key", algorithm="ES256", allowed_client_ids=["hvac"])
seen = identity.read_named_key("hvac-key")["data"]
step("key", seen["algorithm"] == "ES256" and seen["rotation_period"] == 86400 and seen["allowed_client_ids"] == ["hvac"], seen)
step("keys", "hvac-key" in identity.list_named_keys()["data"]["keys"])
identity.create_or_update_role(name="hvac-role", key="hvac-key", client_id="hvac", ttl="1h", template='{"name": {{identity.entity.name}}}')
seen = identity.read_role("hvac-role")["data"]
step("role", seen["key"] == "hvac-key" and seen["ttl"] == 3600 and seen["client_id"] == "hvac", seen)
step("roles", identity.list_roles()["data"]["keys"] == ["hvac-role"])
signed = person.secrets.identity.generate_signed_id_token("hvac-role")["data"]
step("token", signed["client_id"] == "hvac" and signed["ttl"] == 3600, signed)
step("introspect", identity.introspect_signed_id_token(signed["token"], client_id="hvac") == {"active": True})
seen = hvac.Client(url=address).secrets.identity.read_well_known_configurations()
step("document", seen["issuer"] == address + "/v1/identity/oidc" and seen["jwks_uri"].endswith("/.well-known/keys"), seen)
step("public keys", len(identity.read_active_public_keys()["keys"]) == 2)
# This one posts to the key itself, not to its rotation: what it changes is the key's verification_ttl.
identity.rotate_named_key("hvac-key", verification_ttl="2h")
step("verification", identity.read_named_key("hvac-key")["data"]["verification_ttl"] == 7200)
client.adapter.post(url="/v1/identity/oidc/key/hvac-key/rotate")
step("published", len(identity.read_active_public_keys()["keys"]) == 3)
step("still good", identity.introspect_signed_id_token(signed["token"])["active"])

# JWT: what identity has signed logs in elsewhere
client.sys.enable_auth_method("jwt")
client.auth.jwt.configure(jwks_url=address + "/v1/identity/oidc/.well-known/keys", bound_issuer=address + "/v1/identity/oidc")
step("jwt config", client.auth.jwt.read_config()["data"]["jwks_url"].endswith("keys"))
client.auth.jwt.create_role(
    "web", user_claim="sub", allowed_redirect_uris=None, bound_audiences=["hvac"], claim_mappings={"name": "called"}, token_policies=["app"]
)
step("jwt roles", client.auth.jwt.list_roles()["data"]["keys"] == ["web"])
step("jwt role", client.auth.jwt.read_role("web")["data"]["bound_audiences"] == ["hvac"])
guest = hvac.Client(url=address)
login = guest.auth.jwt.jwt_login("web", signed["token"])
step("jwt login", login["auth"]["policies"] == ["app", "default"] and login["auth"]["metadata"]["role"] == "web", login)
step("jwt lookup", guest.auth.token.lookup_self()["data"]["display_name"] == "jwt-" + entity)
step("jwt refused", refused(lambda: guest.auth.jwt.jwt_login("web", signed["token"][:-8]), hvac.exceptions.InvalidRequest, "error validating token"))
client.auth.jwt.delete_role("web")
client.sys.disable_auth_method("jwt")
step("jwt ended", not guest.is_authenticated())

# Kubernetes
client.sys.enable_auth_method("kubernetes")
client.auth.kubernetes.configure(kubernetes_host=given["kubernetes"], token_reviewer_jwt="reviewer", disable_local_ca_jwt=True)
step("kubernetes config", client.auth.kubernetes.read_config()["kubernetes_host"] == given["kubernetes"])
client.auth.kubernetes.create_role("web", bound_service_account_names=["web"], bound_service_account_namespaces=["apps"], policies=["app"])
step("kubernetes roles", client.auth.kubernetes.list_roles()["keys"] == ["web"])
pod = hvac.Client(url=address)
login = pod.auth.kubernetes.login("web", given["jwt"])
step("kubernetes login", login["auth"]["metadata"]["service_account_name"] == "web" and pod.is_authenticated(), login)
step("kubernetes refused", refused(lambda: pod.auth.kubernetes.login("web", given["other"]), hvac.exceptions.Forbidden, "permission denied"))
client.auth.kubernetes.delete_role("web")
client.sys.disable_auth_method("kubernetes")

# LDAP: settings, users and groups; and a directory that is away
client.sys.enable_auth_method("ldap")
client.auth.ldap.configure(url="ldap://127.0.0.1:1", userdn="ou=people,dc=example", groupdn="ou=groups,dc=example", userattr="uid")
seen = client.auth.ldap.read_configuration()["data"]
step("ldap config", seen["userdn"] == "ou=people,dc=example" and seen["userattr"] == "uid", seen)
client.auth.ldap.create_or_update_group("ops", policies=["app"])
step("ldap groups", client.auth.ldap.list_groups()["data"]["keys"] == ["ops"] and client.auth.ldap.read_group("ops")["data"]["policies"] == ["app"])
client.auth.ldap.create_or_update_user("bob", policies=["app"], groups=["ops"])
step("ldap users", client.auth.ldap.list_users()["data"]["keys"] == ["bob"] and client.auth.ldap.read_user("bob")["data"]["groups"] == "ops")
step("ldap away", refused(lambda: hvac.Client(url=address).auth.ldap.login("bob", "x"), hvac.exceptions.VaultError, "the directory expected an answer"))
client.auth.ldap.delete_user("bob")
client.auth.ldap.delete_group("ops")
client.sys.disable_auth_method("ldap")

# Certificates
client.sys.enable_auth_method("cert")
client.auth.cert.create_ca_certificate_role("machines", certificate=given["ca"], allowed_common_names="web*", token_policies=["app"])
step("cert role", client.auth.cert.read_ca_certificate_role("machines")["data"]["allowed_common_names"] == ["web*"])
step("cert roles", client.auth.cert.list_certificate_roles()["data"]["keys"] == ["machines"])
client.auth.cert.delete_certificate_role("machines")
client.sys.disable_auth_method("cert")

identity.delete_role("hvac-role")
identity.delete_named_key("hvac-key")
client.sys.disable_auth_method("crew")
step("ended", not person.is_authenticated())
