"""The flows of userpass and AppRole with hvac, as its documentation has them. Prints one line of JSON a step; exits 1 at the first that is not as expected."""

import sys

import hvac

from steps import refused, step

address, root_token = sys.argv[1], sys.stdin.readline().strip()
client = hvac.Client(url=address, token=root_token)

client.sys.create_or_update_policy("app", 'path "auth/token/lookup-self" { capabilities = ["read"] }')

# userpass
client.sys.enable_auth_method("userpass")
step("enabled", "userpass/" in client.sys.list_auth_methods()["data"])
client.auth.userpass.create_or_update_user("bob", password="s3cret", policies=["app"])
step("users", client.auth.userpass.list_user()["data"]["keys"] == ["bob"])
seen = client.auth.userpass.read_user("bob")["data"]
step("user", seen["token_policies"] == ["app"], seen)
person = hvac.Client(url=address)
login = person.auth.userpass.login("bob", "s3cret")
step("login", login["auth"]["metadata"] == {"username": "bob"} and person.is_authenticated(), login)
step("lookup", person.auth.token.lookup_self()["data"]["display_name"] == "userpass-bob")
step("renew", person.auth.token.renew_self()["auth"]["renewable"])
client.auth.userpass.update_password_on_user("bob", "next")
wrong = hvac.Client(url=address)
step("old password", refused(lambda: wrong.auth.userpass.login("bob", "s3cret"), hvac.exceptions.InvalidRequest, "invalid username or password"))
step("new password", wrong.auth.userpass.login("bob", "next")["auth"]["client_token"])
client.auth.userpass.delete_user("bob")
step("deleted", refused(lambda: wrong.auth.userpass.login("bob", "next"), hvac.exceptions.InvalidRequest, "invalid username or password"))

# AppRole
client.sys.enable_auth_method("approle")
client.auth.approle.create_or_update_approle(
    "web", token_policies=["app"], token_ttl="10m", token_max_ttl="15m", secret_id_num_uses=2, secret_id_ttl="1h"
)
step("roles", client.auth.approle.list_roles()["data"]["keys"] == ["web"])
seen = client.auth.approle.read_role("web")["data"]
step("role", seen["token_ttl"] == 600 and seen["secret_id_num_uses"] == 2, seen)
role_id = client.auth.approle.read_role_id("web")["data"]["role_id"]
made = client.auth.approle.generate_secret_id("web", metadata={"host": "a1"})["data"]
machine = hvac.Client(url=address)
login = machine.auth.approle.login(role_id=role_id, secret_id=made["secret_id"])
step("login", login["auth"]["metadata"] == {"role_name": "web", "host": "a1"} and machine.is_authenticated(), login)
seen = client.auth.approle.read_secret_id("web", made["secret_id"])["data"]
step("secret id", seen["secret_id_num_uses"] == 1 and seen["metadata"] == {"host": "a1"}, seen)
step("accessors", client.auth.approle.list_secret_id_accessors("web")["data"]["keys"] == [made["secret_id_accessor"]])
seen = client.auth.approle.read_secret_id_accessor("web", made["secret_id_accessor"])["data"]
step("by accessor", seen["secret_id_accessor"] == made["secret_id_accessor"], seen)
machine.auth.approle.login(role_id=role_id, secret_id=made["secret_id"])
step(
    "exhausted",
    refused(lambda: machine.auth.approle.login(role_id=role_id, secret_id=made["secret_id"]), hvac.exceptions.InvalidRequest, "invalid role or secret ID"),
)
custom = client.auth.approle.create_custom_secret_id("web", "of-my-own")["data"]
step("custom", machine.auth.approle.login(role_id=role_id, secret_id="of-my-own")["auth"]["client_token"], custom)
client.auth.approle.destroy_secret_id("web", "of-my-own")
step(
    "destroyed",
    refused(lambda: machine.auth.approle.login(role_id=role_id, secret_id="of-my-own"), hvac.exceptions.InvalidRequest, "invalid role or secret ID"),
)
wrapped = client.auth.approle.generate_secret_id("web", wrap_ttl="60s")
unwrapped = hvac.Client(url=address).sys.unwrap(wrapped["wrap_info"]["token"])["data"]
step("wrapped", machine.auth.approle.login(role_id=role_id, secret_id=unwrapped["secret_id"])["auth"]["client_token"])
client.auth.approle.destroy_secret_id_accessor("web", unwrapped["secret_id_accessor"])
client.auth.approle.update_role_id("web", "web-1")
step("role id", client.auth.approle.read_role_id("web")["data"]["role_id"] == "web-1")
client.auth.approle.delete_role("web")
step("no roles", refused(lambda: client.auth.approle.list_roles(), hvac.exceptions.InvalidPath, ""))

client.sys.disable_auth_method("approle")
client.sys.disable_auth_method("userpass")
step("ended", not person.is_authenticated())
