package presence

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/beeline-rt/beeline/contracts"
)

// namedCalls bounds the calls about named requests that are under way; more wait for their turn. Answers may be large, so they
// do not go with the writes of others, and these leave the lease its connections: half of those that there are.
const namedCalls = 8

// BeginNamed says what is known of a request's name, in the whole cluster. If nothing is, the request is noted as under way for
// as long as life, and it is this try's to carry it out, and nobody else's. It may be called again.
//
// The error is [ErrClosed], [ErrUnavailable] or ctx's: the request may then have been noted all the same, which
// [Directory.ForgetNamed] undoes.
func (d *Directory) BeginNamed(ctx context.Context, r contracts.NamedRequest, life time.Duration) (contracts.NamedAnswer, error) {
	reply, err := d.aboutNamed(ctx, beginScript, r, life.Milliseconds()).StringSlice()
	if err != nil {
		return contracts.NamedAnswer{}, d.failed("begin a named request", err)
	}
	if len(reply) != 2 {
		return contracts.NamedAnswer{}, d.failed("begin a named request", errReply)
	}
	known, ok := decodeNamed(r, reply[0], reply[1])
	if !ok {
		return known, d.failed("begin a named request", errReply)
	}
	return known, nil
}

// EndNamed keeps the answer to a request that this try has begun, for as long as life; the status is not 0. The error is
// [ErrClosed], [ErrUnavailable] or ctx's: it may then have been kept or not.
func (d *Directory) EndNamed(ctx context.Context, r contracts.NamedRequest, status int, body []byte, life time.Duration) error {
	if err := d.aboutNamed(ctx, endScript, r, strconv.Itoa(status)+" "+string(body), life.Milliseconds()).Err(); err != nil {
		return d.failed("end a named request", err)
	}
	return nil
}

// ForgetNamed forgets a request of which nothing was done, if this try has begun it, and nothing else. The error is
// [ErrClosed], [ErrUnavailable] or ctx's: it may then stay noted.
func (d *Directory) ForgetNamed(ctx context.Context, r contracts.NamedRequest) error {
	if err := d.aboutNamed(ctx, endScript, r, "", 0).Err(); err != nil {
		return d.failed("forget a named request", err)
	}
	return nil
}

// aboutNamed runs a script on the entry of a named request, on a connection of its own.
func (d *Directory) aboutNamed(ctx context.Context, s script, r contracts.NamedRequest, args ...any) *redis.Cmd {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.callTimeout())
	defer cancel()
	select {
	case d.named <- struct{}{}:
		defer func() { <-d.named }()
	case <-ctx.Done():
		cmd := redis.NewCmd(ctx)
		cmd.SetErr(ctx.Err())
		return cmd
	}
	keys := []contracts.Key{contracts.NamedKey(d.cfg.Cluster, r)}
	return s.run(ctx, d.client, keys, append([]any{whose(r)}, args...)...)
}

// whose is the start of the entry that a try has written: what is asked, and which try, each with a space after it.
func whose(r contracts.NamedRequest) string {
	return base64.RawURLEncoding.EncodeToString(r.Asked[:]) + " " + base64.RawURLEncoding.EncodeToString(r.Try[:]) + " "
}

// decodeNamed reads an entry; now is the time in milliseconds. An empty one is that which r has just written.
func decodeNamed(r contracts.NamedRequest, entry, now string) (known contracts.NamedAnswer, ok bool) {
	if entry == "" {
		return contracts.NamedAnswer{Mine: true}, true
	}
	mine, fields := strings.Fields(whose(r)), strings.SplitN(entry, " ", 4)
	switch {
	case len(fields) != 4 || len(fields[0]) != len(mine[0]):
		return known, false
	case fields[0] != mine[0]:
		return contracts.NamedAnswer{Other: true}, true
	case fields[1] == mine[1] && fields[2] == "0": // it was sent again, after a lost reply
		return contracts.NamedAnswer{Mine: true}, true
	}
	status, err := strconv.Atoi(fields[2])
	if err != nil || status != 0 {
		return contracts.NamedAnswer{Status: status, Body: []byte(fields[3])}, err == nil
	}
	at, err1 := strconv.ParseInt(now, 10, 64)
	began, err2 := strconv.ParseInt(fields[3], 10, 64)
	return contracts.NamedAnswer{Age: time.Duration(at-began) * time.Millisecond}, err1 == nil && err2 == nil
}
