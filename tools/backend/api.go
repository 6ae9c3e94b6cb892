package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
)

// API asks the edges of a cluster over NATS: to send to clients, to say who is online, to disconnect them. Edges that run with --api-nats
// share what is asked. It is safe for concurrent use.
type API struct {
	conn    *broker.Conn
	cluster contracts.ClusterName
	key     string
}

// NewAPI returns an API that asks with a key, over a connection that stays the caller's.
func NewAPI(conn *broker.Conn, cluster contracts.ClusterName, key string) *API {
	return &API{conn, cluster, key}
}

// API asks with a key, over the instance's connection, until the instance is closed.
func (i *Instance) API(key string) *API { return NewAPI(i.conn, i.opts.Cluster, key) }

// Do asks for one operation. request becomes the JSON object that services/api/openapi.yaml says; what is in "ok" of the answer is
// put where ok points, unless that is nil. once, if it is not empty, is the request's Idempotency-Key: to ask again under it does nothing twice. ctx needs a
// deadline: an edge may die with the request.
//
// The error wraps a [*contracts.Error]: the edge's, or [contracts.CodeUnavailable] when nothing was done since nobody was there,
// or [contracts.CodeUnknown] when there was no answer in time, or what came is none, and it may have been done.
func (a *API) Do(ctx context.Context, op contracts.BackendOp, request any, once string, ok any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("backend: %s: %w", op, err)
	}
	header := map[string][]string{contracts.BackendKeyHeader: {a.key}}
	if once != "" {
		header[contracts.IdempotencyHeader] = []string{once}
	}
	_, body, err = a.conn.Request(ctx, contracts.BackendSubject(a.cluster, op), header, body)
	if err != nil {
		return fmt.Errorf("backend: %s: %w: %w", op, notAsked(err), err)
	}
	answer := struct {
		OK    json.RawMessage  `json:"ok"`
		Error *contracts.Error `json:"error"`
	}{}
	err = json.Unmarshal(body, &answer)
	if err == nil && answer.Error != nil {
		return fmt.Errorf("backend: %s: %w", op, answer.Error)
	}
	if err == nil && len(answer.OK) == 0 {
		err = errors.New("it has neither ok nor error")
	}
	if err == nil && ok != nil {
		err = json.Unmarshal(answer.OK, ok)
	}
	if err != nil {
		return fmt.Errorf("backend: %s: %w: %w", op, errNoAnswer, err)
	}
	return nil
}

var errNoAnswer = &contracts.Error{Code: contracts.CodeUnknown, Message: "what came back is not the answer to this: it may or may not have been done"}

// notAsked says what an error of the way to the edges means.
func notAsked(err error) *contracts.Error {
	switch {
	case errors.Is(err, broker.ErrNobody):
		return &contracts.Error{Code: contracts.CodeUnavailable, Message: "no edge answers backends over NATS: run them with --api-nats"}
	case errors.Is(err, broker.ErrPayload):
		return &contracts.Error{Code: contracts.CodeTooLarge, Message: "the request is larger than NATS takes"}
	}
	return &contracts.Error{Code: contracts.CodeUnknown, Message: "no answer in time: it may or may not have been done"}
}
