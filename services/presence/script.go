package presence

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts by their SHA-1
	_ "embed"
	"encoding/hex"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// Every script touches the keys of one slot, so that all work in a Redis Cluster, and leaves the same when it is carried out
// twice, because go-redis sends a command again after a lost reply.
var (
	//go:embed script/connect.lua
	connectSource string
	//go:embed script/disconnect.lua
	disconnectSource string
	//go:embed script/lookup.lua
	lookupSource string
	//go:embed script/prune.lua
	pruneSource string
	//go:embed script/acquire.lua
	acquireSource string
	//go:embed script/renew.lua
	renewSource string
	//go:embed script/release.lua
	releaseSource string
	//go:embed script/origin.lua
	originSource string
	//go:embed script/bind.lua
	bindSource string
	//go:embed script/begin.lua
	beginSource string
	//go:embed script/end.lua
	endSource string

	connectScript    = newScript(connectSource)
	disconnectScript = newScript(disconnectSource)
	lookupScript     = newScript(lookupSource)
	pruneScript      = newScript(pruneSource)
	acquireScript    = newScript(acquireSource)
	renewScript      = newScript(renewSource)
	releaseScript    = newScript(releaseSource)
	originScript     = newScript(originSource)
	bindScript       = newScript(bindSource)
	beginScript      = newScript(beginSource)
	endScript        = newScript(endSource)

	scripts = []script{
		connectScript, disconnectScript, lookupScript, pruneScript, acquireScript, renewScript, releaseScript, originScript, bindScript,
		beginScript, endScript,
	}
)

type script struct{ source, sha string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source)) //nolint:gosec // see the import
	return script{source: source, sha: hex.EncodeToString(sum[:])}
}

// args returns the arguments of EVALSHA, or of EVAL, which also loads the script.
func (s script) args(eval bool, keys []contracts.Key, args ...any) []any {
	name, body := "evalsha", s.sha
	if eval {
		name, body = "eval", s.source
	}
	all := append(make([]any, 0, 3+len(keys)+len(args)), name, body, len(keys))
	for _, k := range keys {
		all = append(all, string(k))
	}
	return append(all, args...)
}

// isNoScript tells whether Redis has lost the script: it was restarted, failed over or told to forget.
func isNoScript(err error) bool { return err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") }

// run runs the script by itself.
func (s script) run(ctx context.Context, c redis.UniversalClient, keys []contracts.Key, args ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx, s.args(false, keys, args...)...)
	_ = c.Process(ctx, cmd)
	if isNoScript(cmd.Err()) {
		cmd = redis.NewCmd(ctx, s.args(true, keys, args...)...)
		_ = c.Process(ctx, cmd)
	}
	return cmd
}

// loadScripts saves the first calls a round trip. Its errors are left to those calls, which would meet them too:
// in a Redis Cluster one replica that is down is an error here.
func loadScripts(ctx context.Context, c redis.UniversalClient) {
	for _, s := range scripts {
		_ = c.ScriptLoad(ctx, s.source)
	}
}
