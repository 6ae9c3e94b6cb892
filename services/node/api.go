package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/beeline-rt/beeline/broker"
	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/services/api"
	"github.com/beeline-rt/beeline/services/apikey"
	"github.com/beeline-rt/beeline/services/edge"
	"github.com/beeline-rt/beeline/services/presence"
	"github.com/beeline-rt/beeline/services/token"
)

const (
	apiTime     = 30 * time.Second // for a request of a backend and its answer; what is done for it takes a third at most
	apiStopTime = 3 * time.Second  // for requests under way when the node stops; after two thirds of it they are told how far they came
)

// APIKey is the key of a backend, and what it may be used for. What no list allows is forbidden.
type APIKey struct {
	Name    string      // for logs; its own
	SHA256  string      // of the key, in hexadecimal
	Scopes  []api.Scope // what it may be used for
	From    []string    // patterns: names that it may send and publish as
	Clients []string    // patterns: clients that it may send to, ask for, disconnect and make tokens for
	Groups  []string    // patterns: groups that it may publish to and ask for the members of
	Rate    float64     // operations per second on this node, at most 1,000,000; 0: [api.DefaultRate]
	Burst   int         // operations at once, at most 1,000,000; 0: [api.DefaultBurst]
}

// maxAPIRate bounds what a key may be allowed: more than any node can do. There is no key without a limit.
const maxAPIRate = 1_000_000

func (c *Config) validateAPI() error {
	switch {
	case c.APIListen == "" && !c.APINATS && len(c.APIKeys) > 0:
		return fmt.Errorf("%w: api-keys without api-listen or api-nats: nobody could use them", ErrConfig)
	case (c.APIListen != "" || c.APINATS) && len(c.APIKeys) == 0:
		return fmt.Errorf("%w: api-listen or api-nats without api-keys: nobody could ask there (beeline apikey makes one)", ErrConfig)
	case (c.APITLSCert == "") != (c.APITLSKey == ""):
		return fmt.Errorf("%w: api-tls-cert and api-tls-key go together", ErrConfig)
	}
	names, hashes := map[string]bool{}, map[apikey.Hash]bool{}
	for _, k := range c.APIKeys {
		made, err := k.key()
		if err != nil {
			return fmt.Errorf("%w: api-keys: %w", ErrConfig, err)
		}
		if names[k.Name] || hashes[made.Hash] {
			return fmt.Errorf("%w: api-keys: the name or the hash of %s is there twice", ErrConfig, k.Name)
		}
		names[k.Name], hashes[made.Hash] = true, true
	}
	return nil
}

// Validate tells in one sentence what is wrong with a key.
func (k APIKey) Validate() error {
	_, err := k.key()
	return err
}

// key is what the API knows it as.
func (k APIKey) key() (api.Key, error) {
	made := api.Key{Name: k.Name, Scopes: k.Scopes, Rate: k.Rate, Burst: k.Burst}
	if _, err := contracts.ParseClientID(k.Name); err != nil {
		return made, fmt.Errorf("the name of a key: %w", err)
	}
	var err error
	if made.Hash, err = apikey.Parse(k.SHA256); err != nil {
		return made, fmt.Errorf("%s: sha256: %w", k.Name, err)
	}
	if len(k.Scopes) == 0 {
		return made, fmt.Errorf("%s has no scopes: some of %v", k.Name, api.Scopes)
	}
	for _, s := range k.Scopes {
		if !slices.Contains(api.Scopes, s) {
			return made, fmt.Errorf("%s: %q is no scope: there are %v", k.Name, s, api.Scopes)
		}
	}
	if !(k.Rate >= 0 && k.Rate <= maxAPIRate) || k.Burst < 0 || k.Burst > maxAPIRate { // a rate may be no number, which is in no order
		return made, fmt.Errorf("%s: rate and burst must be from 0 to %d; 0 stands for the default", k.Name, maxAPIRate)
	}
	for _, p := range []struct {
		name string
		list []string
		to   *api.Permissions
	}{{"from", k.From, &made.From}, {"clients", k.Clients, &made.Clients}, {"groups", k.Groups, &made.Groups}} {
		if *p.to, err = token.NewPatterns(p.list...); err != nil {
			return made, fmt.Errorf("%s: %s: %w", k.Name, p.name, err)
		}
	}
	return made, nil
}

// listenAPI opens the listener for backends, if there is to be one.
func (n *Node) listenAPI(ctx context.Context) error {
	if n.cfg.APIListen == "" {
		return nil
	}
	if err := n.http.API.Listen(ctx, net.ListenConfig{}, "backends", n.cfg.APIListen); err != nil {
		return err
	}
	if n.cfg.APITLSCert == "" {
		return nil
	}
	if err := n.http.API.Secure(n.cfg.APITLSCert, n.cfg.APITLSKey); err != nil {
		return fmt.Errorf("%w: api-%w", ErrConfig, err)
	}
	return nil
}

// newAPI returns nil if there is to be none.
func (n *Node) newAPI() (*api.API, error) {
	if n.cfg.APIListen == "" && !n.cfg.APINATS {
		return nil, nil //nolint:nilnil // there is none, which is no error
	}
	o := api.Options{Cluster: n.cfg.Cluster, Edge: n.edge, Answers: n.dir, MaxData: n.cfg.Edge.MaxFrame, Logger: n.log}
	tokens := false
	for _, k := range n.cfg.APIKeys {
		made, err := k.key()
		if err != nil {
			return nil, fmt.Errorf("%w: api-keys: %w", ErrConfig, err)
		}
		tokens = tokens || slices.Contains(made.Scopes, api.ScopeTokens)
		o.Keys = append(o.Keys, made)
	}
	if tokens {
		keys, err := token.ParseKeys(n.cfg.TokenKeys)
		if err != nil {
			return nil, fmt.Errorf("%w: token-key: %w", ErrConfig, err)
		}
		key, err := keys.ForIssuing()
		if err != nil {
			return nil, fmt.Errorf("%w: api-keys: one has the scope tokens, but token-key: %w", ErrConfig, err)
		}
		o.Issuer = &issuer{key: key, issuer: n.cfg.TokenIssuer, audience: n.cfg.TokenAudience}
	}
	return api.New(o), nil
}

// offerAPI answers backends over NATS, if that is wanted. asked is for what they ask for.
func (n *Node) offerAPI(ctx, asked context.Context) (err error) {
	if !n.cfg.APINATS {
		return nil
	}
	subjects := map[string]contracts.Subject{}
	for _, op := range api.Operations() {
		subjects[string(op)] = contracts.BackendSubject(n.cfg.Cluster, op)
	}
	n.offer, err = n.conn.Offer(ctx, broker.OfferConfig{
		Name: "beeline-api", Description: "Beeline's server API: send to clients, ask for them and disconnect them",
		Metadata: map[string]string{"cluster": string(n.cfg.Cluster), "node": string(n.cfg.Node)},
		Subjects: subjects,
		Handle: func(op string, r *broker.Request) {
			n.api.Take(asked, contracts.BackendOp(op), r.Header, r.Data, func(status int, h http.Header, body []byte) error {
				if status != http.StatusOK {
					broker.Refused(h, strconv.Itoa(status), http.StatusText(status))
				}
				err := r.Answer(h, body)
				if errors.Is(err, broker.ErrPayload) {
					return fmt.Errorf("%w: %w", api.ErrLarge, err)
				}
				return err
			})
		},
	})
	return err
}

// retireAPI leaves what backends ask for over NATS to others.
func (n *Node) retireAPI(ctx context.Context) {
	if n.offer != nil {
		n.offer.Close(ctx)
	}
}

// stopAPI lets requests of backends end that are under way, while the edge can still carry them out.
func (n *Node) stopAPI(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, apiStopTime)
	defer cancel()
	if n.endAPI != nil {
		defer n.endAPI()
		deadline, _ := ctx.Deadline()
		defer time.AfterFunc(time.Until(deadline)*2/3, n.endAPI).Stop() // the rest is for their answers: these take NATS and Redis
	}
	n.retireAPI(ctx)
	n.http.API.Shutdown(ctx)
	if n.api != nil {
		n.api.Close(ctx)
	}
}

// APIURL is the address for backends, or "" when there is none.
func (n *Node) APIURL() string {
	if n.http.API.Listener == nil {
		return ""
	}
	scheme := "http://"
	if n.cfg.APITLSCert != "" {
		scheme = "https://"
	}
	return scheme + n.http.API.Listener.Addr().String()
}

var (
	_ api.Edge    = (*edge.Edge)(nil)
	_ api.Answers = (*presence.Directory)(nil)
)

// issuer makes tokens that this node takes.
type issuer struct {
	key              token.Key
	issuer, audience string
}

// Issue makes a token.
func (i *issuer) Issue(client contracts.ClientID, g contracts.TokenGrant) (contracts.TokenAnswer, *contracts.Error) {
	now := time.Now()
	claims := token.Claims{Client: string(client), Expires: now.Add(g.Life + time.Second).Truncate(time.Second), Issuer: i.issuer, Audience: i.audience}
	for _, p := range []struct {
		name string
		list []string
		to   *token.Patterns
	}{{"send", g.Send, &claims.Send}, {"groups", g.Groups, &claims.Groups}, {"watch", g.Watch, &claims.Watch}, {"call", g.Call, &claims.Call}} {
		if p.list == nil {
			continue
		}
		var err error
		if *p.to, err = token.NewPatterns(p.list...); err != nil {
			return contracts.TokenAnswer{}, &contracts.Error{Code: contracts.CodeBadRequest, Message: p.name + ": " + strings.TrimPrefix(err.Error(), token.ErrPattern.Error()+": ")}
		}
	}
	signed, err := token.Issue(i.key, claims, now)
	switch {
	case errors.Is(err, token.ErrClaims):
		return contracts.TokenAnswer{}, &contracts.Error{Code: contracts.CodeTooLarge, Message: "the token would be too long: it has too many patterns"}
	case err != nil:
		return contracts.TokenAnswer{}, &contracts.Error{Code: contracts.CodeInternal, Message: "the token could not be made"}
	}
	return contracts.TokenAnswer{Token: signed, ExpiresAt: claims.Expires.Unix()}, nil
}
