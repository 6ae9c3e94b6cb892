package presence

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// Bind says which instance of a service has a message key. If none has, or only the one that is gone, it is given to take, for
// as long as it is not idle for longer than idle; all edges get the same answer. It may be called again. take may be empty: then a key that
// nobody has is given to nobody, and so is the answer.
//
// The error is [ErrClosed], [ErrUnavailable] or ctx's: the key may then have been given away all the same.
func (d *Directory) Bind(ctx context.Context, s contracts.ServiceName, k contracts.CallKey, take, gone contracts.InstanceID, idle time.Duration) (contracts.InstanceID, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()
	keys := []contracts.Key{contracts.BindingKey(d.cfg.Cluster, s, k)}
	args := []any{string(take), idle.Milliseconds(), string(gone)}
	cmd := redis.NewCmd(ctx, bindScript.args(false, keys, args...)...)
	err := d.do(ctx, cmd)
	if isNoScript(err) {
		cmd = redis.NewCmd(ctx, bindScript.args(true, keys, args...)...)
		err = d.do(ctx, cmd)
	}
	if err != nil {
		return "", d.failed("bind", err) // and cmd may be in use
	}
	text, ok := cmd.Val().(string)
	if ok && text == "" && take == "" {
		return "", nil
	}
	has, err := contracts.ParseInstanceID(text)
	if err != nil {
		return "", d.failed("bind", errReply)
	}
	return has, nil
}

// Losses counts how often Redis was found to have lost what it held: what was bound before may be bound anew, elsewhere.
func (d *Directory) Losses() uint64 {
	_, round := d.trust.look()
	return round + d.stats.losses.Load()
}
