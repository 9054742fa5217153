"""The flows of identity with hvac, as its documentation has them. Prints one line of JSON a step; exits 1 at the first that is not as expected."""

import sys

import hvac

from steps import refused, step

address, root_token = sys.argv[1], sys.stdin.readline().strip()
client = hvac.Client(url=address, token=root_token)
identity = client.secrets.identity

client.sys.enable_auth_method("userpass", path="people")
client.sys.enable_auth_method("userpass", path="staff")
mounts = client.sys.list_auth_methods()["data"]
people, staff = mounts["people/"]["accessor"], mounts["staff/"]["accessor"]

# Entities
made = identity.create_or_update_entity(name="hvac-entity", metadata=dict(extra_datas="yup"), policies=["app"])
step("entity", made["data"]["name"] == "hvac-entity", made)
entity = made["data"]["id"]
seen = identity.read_entity(entity_id=entity)["data"]
step("read", seen["metadata"] == {"extra_datas": "yup"} and seen["policies"] == ["app"] and not seen["disabled"], seen)
step("by name", identity.read_entity_by_name(name="hvac-entity")["data"]["id"] == entity)
step("update", identity.update_entity(entity_id=entity, metadata=dict(new="n"), disabled=False).status_code == 204)
step("by name again", identity.create_or_update_entity_by_name(name="hvac-entity", policies=["b"]).status_code == 204)
second = identity.create_or_update_entity_by_name(name="other")["data"]["id"]
# Logins of the other flow have made entities, too.
step("list", {entity, second} <= set(identity.list_entities()["data"]["keys"]))
step("list with GET", identity.list_entities(method="GET")["data"]["keys"] == identity.list_entities()["data"]["keys"])
step("list names", {"hvac-entity", "other"} <= set(identity.list_entities_by_name()["data"]["keys"]))

# Aliases
alias = identity.create_or_update_entity_alias(name="hvac-alias", canonical_id=entity, mount_accessor=people)["data"]
step("alias", alias["canonical_id"] == entity, alias)
step("read alias", identity.read_entity_alias(alias_id=alias["id"])["data"]["mount_type"] == "userpass")
step("update alias", identity.update_entity_alias(alias["id"], "renamed", entity, people)["data"]["id"] == alias["id"])
step("list aliases", identity.list_entity_aliases()["data"]["key_info"][alias["id"]]["name"] == "renamed")
step("look up", identity.lookup_entity(alias_name="renamed", alias_mount_accessor=people)["data"]["id"] == entity)
step("look up by id", identity.lookup_entity(alias_id=alias["id"])["data"]["name"] == "hvac-entity")

# Merging
identity.create_or_update_entity_alias(name="other", canonical_id=second, mount_accessor=staff)
step("merge", identity.merge_entities(from_entity_ids=[second], to_entity_id=entity).status_code == 204)
seen = identity.read_entity(entity_id=entity)["data"]
step("merged", seen["merged_entity_ids"] == [second] and len(seen["aliases"]) == 2, seen)
step("gone", refused(lambda: identity.read_entity(entity_id=second), hvac.exceptions.InvalidPath, ""))

# Groups
inner = identity.create_or_update_group(name="inner", member_entity_ids=[entity])["data"]["id"]
outer = identity.create_or_update_group(name="outer", policies=["outer"], member_group_ids=[inner])["data"]["id"]
seen = identity.read_entity(entity_id=entity)["data"]
step("groups", seen["direct_group_ids"] == [inner] and seen["inherited_group_ids"] == [outer], seen)
step(
    "circle",
    refused(
        lambda: identity.update_group(group_id=inner, name="inner", member_group_ids=[outer]),
        hvac.exceptions.InvalidRequest,
        "cyclic relationship detected",
    ),
)
step("update group", identity.update_group(group_id=inner, name="inner", policies=["p"]).status_code == 204)
step("read group", identity.read_group(group_id=inner)["data"]["policies"] == ["p"])
step("group by name", identity.read_group_by_name(name="outer")["data"]["member_group_ids"] == [inner])
step("list groups", sorted(identity.list_groups()["data"]["keys"]) == sorted([inner, outer]))
step("list group names", identity.list_groups_by_name()["data"]["keys"] == ["inner", "outer"])
external = identity.create_or_update_group(name="external", group_type="external")["data"]["id"]
named = identity.create_or_update_group_alias(name="cn=all", mount_accessor=people, canonical_id=external)["data"]["id"]
step("group alias", identity.read_group_alias(alias_id=named)["data"]["canonical_id"] == external)
step("update group alias", identity.update_group_alias(named, "cn=some", people, external)["data"]["id"] == named)
step("list group aliases", identity.list_group_aliases()["data"]["keys"] == [named])
step("look up group", identity.lookup_group(alias_name="cn=some", alias_mount_accessor=people)["data"]["id"] == external)
identity.delete_group_alias(entity_id=named)
identity.delete_group(group_id=external)
identity.delete_group_by_name(name="outer")
step("deleted groups", identity.list_groups_by_name()["data"]["keys"] == ["inner"])

# A login has it all.
client.sys.create_or_update_policy("p", 'path "sys/tools/random/*" { capabilities = ["update"] }')
client.auth.userpass.create_or_update_user("renamed", password="right", mount_point="people")
person = hvac.Client(url=address)
auth = person.auth.userpass.login("renamed", "right", mount_point="people")["auth"]
step("login", auth["entity_id"] == entity and auth["identity_policies"] == ["b", "p"], auth)
step("own entity", person.secrets.identity.read_entity(entity_id=entity)["data"]["name"] == "hvac-entity")
identity.update_entity(entity_id=entity, disabled=True)
step("disabled", not person.is_authenticated())
identity.delete_entity_alias(alias_id=alias["id"])
identity.delete_entity_by_name(name="hvac-entity")
step("deleted", refused(lambda: identity.read_entity(entity_id=entity), hvac.exceptions.InvalidPath, ""))
for name in identity.list_entities_by_name()["data"]["keys"]:
    identity.delete_entity_by_name(name=name)
step("no entities", refused(lambda: identity.list_entities(), hvac.exceptions.InvalidPath, ""))
