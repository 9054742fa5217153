// The flows of the Go client github.com/openbao/openbao/api/v2, unmodified, as its documentation has them. Prints one line of JSON a step; exits 1 at the first
// that is not as expected. Arguments: the address; on standard input the root token.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/openbao/openbao/api/v2"
)

func step(name string, ok bool, seen ...any) {
	line, _ := json.Marshal(map[string]any{"step": name, "ok": ok})
	fmt.Println(string(line))
	if !ok {
		fmt.Fprintln(os.Stderr, append([]any{name}, seen...)...)
		os.Exit(1)
	}
}

func must[T any](name string) func(T, error) T {
	return func(value T, err error) T {
		if err != nil {
			step(name, false, err)
		}
		return value
	}
}

func fine(name string, err error) { step(name, err == nil, err) }

func status(err error) int {
	var answer *api.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

func clientOf(token string) *api.Client {
	config := api.DefaultConfig()
	config.Address = os.Args[1]
	client := must[*api.Client]("client")(api.NewClient(config))
	client.SetToken(token)
	return client
}

func main() {
	token, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	root := clientOf(strings.TrimSpace(token))
	ctx := context.Background()

	system(root)
	secrets(ctx, root)
	versionOne(ctx, root)
	tokens(ctx, root)
	wrapping(root)
	logins(root)
	namespaces(root)
	cluster(root)
}

func system(root *api.Client) {
	health := must[*api.HealthResponse]("health")(root.Sys().Health())
	step("health", health.Initialized && !health.Sealed && !health.Standby, health)
	seal := must[*api.SealStatusResponse]("seal status")(root.Sys().SealStatus())
	step("seal status", !seal.Sealed && seal.T == 3 && seal.N == 5 && seal.Type == "shamir", seal)
	leader := must[*api.LeaderResponse]("leader")(root.Sys().Leader())
	step("leader", leader.HAEnabled && leader.IsSelf && leader.RaftCommittedIndex > 0, leader)
	nodes := must[*api.HAStatusResponse]("ha status")(root.Sys().HAStatus())
	step("ha status", len(nodes.Nodes) == 1 && nodes.Nodes[0].ActiveNode, nodes)
	fine("mount", root.Sys().Mount("app", &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}, Config: api.MountConfigInput{MaxLeaseTTL: "2h"}}))
	mounts := must[map[string]*api.MountOutput]("mounts")(root.Sys().ListMounts())
	step("mounts", mounts["app/"] != nil && mounts["app/"].Options["version"] == "2" && mounts["app/"].Config.MaxLeaseTTL == 7200, mounts["app/"])
	fine("tune", root.Sys().TuneMount("app", api.MountConfigInput{DefaultLeaseTTL: "30m"}))
	config := must[*api.MountConfigOutput]("tuned")(root.Sys().MountConfig("app"))
	step("tuned", config.DefaultLeaseTTL == 1800, config)
	fine("policy", root.Sys().PutPolicy("app", `path "app/data/*" { capabilities = ["create", "read", "update"] }`))
	text := must[string]("policy read")(root.Sys().GetPolicy("app"))
	step("policy read", strings.Contains(text, "app/data/*"), text)
	names := must[[]string]("policies")(root.Sys().ListPolicies())
	step("policies", strings.Contains(strings.Join(names, " "), "app"), names)
	may := must[[]string]("capabilities")(root.Sys().CapabilitiesSelf("app/data/x"))
	step("capabilities", len(may) == 1 && may[0] == "root", may)
	key := must[*api.KeyStatus]("key status")(root.Sys().KeyStatus())
	step("key status", key.Term >= 1, key)
	hash := must[string]("audit hash")(root.Sys().AuditHash("file", "text"))
	step("audit hash", strings.HasPrefix(hash, "hmac-sha256:"), hash)
	none := must[*api.Secret]("nothing there")(root.Logical().Read("app/data/none"))
	step("nothing there", none == nil)
	_, err := root.Logical().Read("nowhere/x")
	step("no such mount", status(err) == 404 || err == nil, err)
}

func secrets(ctx context.Context, root *api.Client) {
	kv := root.KVv2("app")
	put := must[*api.KVSecret]("kv put")(kv.Put(ctx, "a/one", map[string]any{"user": "u", "password": "p"}))
	step("kv put", put.VersionMetadata.Version == 1, put.VersionMetadata)
	got := must[*api.KVSecret]("kv get")(kv.Get(ctx, "a/one"))
	step("kv get", got.Data["password"] == "p" && !got.VersionMetadata.CreatedTime.IsZero(), got.Data)
	_, err := kv.Put(ctx, "a/one", map[string]any{"user": "x"}, api.WithCheckAndSet(0))
	step("check and set", status(err) == 400 && strings.Contains(err.Error(), "check-and-set"), err)
	patched := must[*api.KVSecret]("kv patch")(kv.Patch(ctx, "a/one", map[string]any{"password": "q"}))
	step("kv patch", patched.VersionMetadata.Version == 2)
	got = must[*api.KVSecret]("kv patched")(kv.Get(ctx, "a/one"))
	step("kv patched", got.Data["user"] == "u" && got.Data["password"] == "q", got.Data)
	rw := must[*api.KVSecret]("kv patch rw")(kv.Patch(ctx, "a/one", map[string]any{"password": "r"}, api.WithMergeMethod(api.KVMergeMethodReadWrite)))
	step("kv patch rw", rw.VersionMetadata.Version == 3)
	old := must[*api.KVSecret]("kv version")(kv.GetVersion(ctx, "a/one", 1))
	step("kv version", old.Data["password"] == "p")
	versions := must[[]api.KVVersionMetadata]("kv versions")(kv.GetVersionsAsList(ctx, "a/one"))
	step("kv versions", len(versions) == 3)
	fine("kv metadata", kv.PutMetadata(ctx, "a/one", api.KVMetadataPutInput{MaxVersions: 4, CustomMetadata: map[string]any{"owner": "ann"}}))
	owner := "bob"
	fine("kv metadata patch", kv.PatchMetadata(ctx, "a/one", api.KVMetadataPatchInput{CustomMetadata: map[string]any{"owner": owner}}))
	metadata := must[*api.KVMetadata]("kv metadata read")(kv.GetMetadata(ctx, "a/one"))
	step("kv metadata read", metadata.CurrentVersion == 3 && metadata.MaxVersions == 4 && metadata.CustomMetadata["owner"] == owner, metadata)
	back := must[*api.KVSecret]("kv rollback")(kv.Rollback(ctx, "a/one", 1))
	step("kv rollback", back.VersionMetadata.Version == 4)
	list := must[*api.Secret]("list")(root.Logical().List("app/metadata/a"))
	step("list", len(list.Data["keys"].([]any)) == 1, list.Data)
	fine("kv delete", kv.Delete(ctx, "a/one"))
	// It answers the metadata of a deleted version, and no data.
	gone := must[*api.KVSecret]("kv deleted")(kv.Get(ctx, "a/one"))
	step("kv deleted", gone.Data == nil && !gone.VersionMetadata.DeletionTime.IsZero(), gone)
	fine("kv undelete", kv.Undelete(ctx, "a/one", []int{4}))
	fine("kv delete versions", kv.DeleteVersions(ctx, "a/one", []int{1}))
	fine("kv destroy", kv.Destroy(ctx, "a/one", []int{2}))
	fine("kv delete metadata", kv.DeleteMetadata(ctx, "a/one"))
	_, err = kv.Get(ctx, "a/one")
	step("kv not found", errors.Is(err, api.ErrSecretNotFound), err)
}

func versionOne(ctx context.Context, root *api.Client) {
	fine("mount v1", root.Sys().Mount("plain", &api.MountInput{Type: "kv"}))
	kv := root.KVv1("plain")
	fine("v1 put", kv.Put(ctx, "a", map[string]any{"k": "v"}))
	got := must[*api.KVSecret]("v1 get")(kv.Get(ctx, "a"))
	step("v1 get", got.Data["k"] == "v")
	fine("v1 delete", kv.Delete(ctx, "a"))
	fine("remount", root.Sys().Remount("plain", "moved"))
	fine("unmount", root.Sys().Unmount("moved"))
}

func tokens(ctx context.Context, root *api.Client) {
	made := must[*api.Secret]("token create")(root.Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{"app"}, TTL: "4s", Period: "4s", DisplayName: "go"}))
	step("token create", made.Auth.Renewable && made.Auth.LeaseDuration == 4, made.Auth)
	app := clientOf(made.Auth.ClientToken)
	self := must[*api.Secret]("token lookup")(app.Auth().Token().LookupSelf())
	policies := must[[]string]("token policies")(self.TokenPolicies())
	step("token lookup", strings.Join(policies, " ") == "app default", policies)
	_, err := app.Logical().Read("sys/mounts")
	step("denied", status(err) == 403, err)
	// Renews at two thirds of its life, and goes on.
	watcher := must[*api.LifetimeWatcher]("watcher")(app.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: made}))
	go watcher.Start()
	select {
	case renewal := <-watcher.RenewCh():
		step("renewed by the watcher", renewal.Secret.Auth.LeaseDuration == 4, renewal.Secret.Auth)
	case err := <-watcher.DoneCh():
		step("renewed by the watcher", false, err)
	case <-time.After(8 * time.Second):
		step("renewed by the watcher", false, "no renewal in time")
	}
	watcher.Stop()
	fine("token revoke", root.Auth().Token().RevokeAccessor(made.Auth.Accessor))
	_, err = app.Auth().Token().LookupSelfWithContext(ctx)
	step("revoked", status(err) == 403, err)
	orphan := must[*api.Secret]("orphan")(root.Auth().Token().CreateOrphan(&api.TokenCreateRequest{Policies: []string{"default"}}))
	fine("revoke self", clientOf(orphan.Auth.ClientToken).Auth().Token().RevokeSelf(""))
}

func wrapping(root *api.Client) {
	wrapper := clientOf(root.Token())
	wrapper.SetWrappingLookupFunc(func(operation, path string) string { return "60s" })
	wrapped := must[*api.Secret]("wrap")(wrapper.Logical().Write("sys/wrapping/wrap", map[string]any{"k": "v"}))
	step("wrap", wrapped.WrapInfo != nil && wrapped.WrapInfo.TTL == 60, wrapped.WrapInfo)
	opened := must[*api.Secret]("unwrap")(root.Logical().Unwrap(wrapped.WrapInfo.Token))
	step("unwrap", opened.Data["k"] == "v", opened.Data)
	_, err := root.Logical().Unwrap(wrapped.WrapInfo.Token)
	step("unwrap twice", status(err) == 400, err)
}

func logins(root *api.Client) {
	fine("enable approle", root.Sys().EnableAuthWithOptions("approle", &api.EnableAuthOptions{Type: "approle"}))
	methods := must[map[string]*api.AuthMount]("auth list")(root.Sys().ListAuth())
	step("auth list", methods["approle/"] != nil && methods["token/"] != nil)
	must[*api.Secret]("role")(root.Logical().Write("auth/approle/role/web", map[string]any{"token_policies": "app", "token_ttl": "10m"}))
	role := must[*api.Secret]("role id")(root.Logical().Read("auth/approle/role/web/role-id"))
	secret := must[*api.Secret]("secret id")(root.Logical().Write("auth/approle/role/web/secret-id", nil))
	login := must[*api.Secret]("login")(clientOf("").Logical().Write("auth/approle/login", map[string]any{
		"role_id": role.Data["role_id"], "secret_id": secret.Data["secret_id"],
	}))
	step("login", login.Auth.LeaseDuration == 600 && login.Auth.Metadata["role_name"] == "web", login.Auth)
	_, err := clientOf("").Logical().Write("auth/approle/login", map[string]any{"role_id": role.Data["role_id"], "secret_id": "wrong"})
	step("login refused", status(err) == 400, err)
	fine("disable", root.Sys().DisableAuth("approle"))
}

func namespaces(root *api.Client) {
	made := must[*api.CreateNamespaceOutput]("namespace")(root.Sys().CreateNamespace("team", nil))
	step("namespace", made != nil)
	inside := root.WithNamespace("team")
	fine("mount inside", inside.Sys().Mount("kv", &api.MountInput{Type: "kv"}))
	must[*api.Secret]("write inside")(inside.Logical().Write("kv/a", map[string]any{"k": "inside"}))
	outside := must[*api.Secret]("read by path")(root.Logical().Read("team/kv/a"))
	step("read by path", outside.Data["k"] == "inside")
	all := must[map[string]*api.ListNamespaceOutput]("namespaces")(root.Sys().ListNamespaces())
	step("namespaces", all["team/"] != nil, all)
}

func cluster(root *api.Client) {
	state := must[*api.AutopilotState]("autopilot")(root.Sys().RaftAutopilotState())
	step("autopilot", state.Healthy && state.Leader == "node1" && len(state.Voters) == 1, state)
	config := must[*api.AutopilotConfig]("autopilot config")(root.Sys().RaftAutopilotConfiguration())
	step("autopilot config", config.MaxTrailingLogs > 0, config)
	// The bytes arrive; the client then looks for the peer's own archive in them, which ours is not, and says so.
	var file bytes.Buffer
	err := root.Sys().RaftSnapshot(&file)
	step("snapshot: ours is another format, and its bytes arrive", file.Len() > 1000 && errors.Is(err, api.ErrIncompleteSnapshot), file.Len(), err)
	ctx, cancel := context.WithCancel(context.Background())
	_, err = root.Sys().Monitor(ctx, "info", "json")
	fine("monitor", err)
	cancel()
}
