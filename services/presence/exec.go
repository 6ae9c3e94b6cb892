package presence

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"
)

// exec carries out commands in one pipeline; in a Redis Cluster, in one per master, all at the same time. Each command
// has its error then.
//
// A pipeline of go-redis's cluster client would not do: when its context ends while it waits to try one master again, it
// sets the error on all commands, also on those that other masters have answered.
func (d *Directory) exec(ctx context.Context, cmds []redis.Cmder) {
	cluster, ok := d.client.(*redis.ClusterClient)
	if !ok {
		execOn(ctx, d.client, cmds)
		return
	}
	groups := make(map[*redis.Client][]redis.Cmder)
	for _, cmd := range cmds {
		master, err := cluster.MasterForKey(ctx, keyOf(cmd))
		if err != nil {
			cmd.SetErr(err)
			continue
		}
		groups[master] = append(groups[master], cmd)
	}
	var wg sync.WaitGroup
	for master, group := range groups {
		wg.Go(func() { execOn(ctx, master, group) })
	}
	wg.Wait()

	var moved []redis.Cmder
	failed := false
	for _, cmd := range cmds {
		switch err := cmd.Err(); {
		case redis.HasErrorPrefix(err, "MOVED"), redis.HasErrorPrefix(err, "ASK"), redis.HasErrorPrefix(err, "TRYAGAIN"):
			moved = append(moved, cmd)
		case err != nil && !isReply(err):
			failed = true
		}
	}
	if failed {
		cluster.ReloadState(ctx) // another master may have taken over; only notes that it has to be asked
	}
	if len(moved) > 0 {
		execOn(ctx, cluster, moved) // which follows
	}
}

func execOn(ctx context.Context, c redis.UniversalClient, cmds []redis.Cmder) {
	if len(cmds) == 0 {
		return
	}
	pipe := c.Pipeline()
	for _, cmd := range cmds {
		_ = pipe.Process(ctx, cmd) // only queues it
	}
	_, _ = pipe.Exec(ctx) // each command has its error
}

// keyOf returns the key of a command of this package.
func keyOf(cmd redis.Cmder) string {
	place := 1
	if name := cmd.Name(); name == "evalsha" || name == "eval" {
		place = 3
	}
	key, _ := cmd.Args()[place].(string)
	return key
}

// isReply tells whether an error is one that a server answered with, so that the server is there.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}
