package token

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Claims are what a token says about the client who bears it.
type Claims struct {
	// Client is the client id (sub).
	Client string
	// Expires is when every session opened with the token ends (exp), in whole
	// seconds. It is zero when the token has none, which a [Verifier] accepts only
	// if told to.
	Expires time.Time

	// Send, Groups, Watch and Call are the clients this one may send to, the
	// groups it may join and publish to, the clients whose presence it may watch
	// and the services it may call. Absent ones leave it to the server's default.
	Send, Groups, Watch, Call Patterns

	// Admin opens the console.
	Admin bool

	// Issuer is the token's iss, and Audience the value of its aud that the
	// verifier is configured with. [Issue] writes those that are not empty.
	Issuer, Audience string
}

// payload is a decoded token body: the claims, and what is only checked.
type payload struct {
	Claims
	audience          []string
	notBefore, issued time.Time // zero when absent
}

// lastSecond is the end of the year 9999. A later date is a mistake (such as
// milliseconds), and converting it could overflow into the past.
const lastSecond = 253402300799

// claimReader reads claims by name and keeps the first failure. Names are
// compared exactly; a claim of the wrong type is an error, never absent.
type claimReader struct {
	claims jwt.MapClaims
	err    error
}

// decode reads the claims of a token whose signature has been verified.
func decode(claims jwt.MapClaims) (payload, error) {
	r := claimReader{claims: claims}
	p := payload{
		Claims: Claims{
			Client:  r.text("sub"),
			Expires: r.date("exp"),
			Send:    r.patterns("send"),
			Groups:  r.patterns("groups"),
			Watch:   r.patterns("watch"),
			Call:    r.patterns("call"),
			Admin:   r.flag("admin"),
			Issuer:  r.text("iss"),
		},
		audience:  r.audience("aud"),
		notBefore: r.date("nbf"),
		issued:    r.date("iat"),
	}
	return p, r.err
}

// fail records that a claim is not what it should be.
func (r *claimReader) fail(name, want string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s is not %s", ErrClaims, name, want)
	}
}

func (r *claimReader) text(name string) string {
	v, present := r.claims[name]
	s, ok := v.(string)
	if present && !ok {
		r.fail(name, "a string")
	}
	return s
}

func (r *claimReader) flag(name string) bool {
	v, present := r.claims[name]
	b, ok := v.(bool)
	if present && !ok {
		r.fail(name, "true or false")
	}
	return b
}

// date cuts fractions of seconds off, so that a session never outlives exp.
func (r *claimReader) date(name string) time.Time {
	v, present := r.claims[name]
	if !present {
		return time.Time{}
	}
	seconds, ok := v.(float64)
	if !ok || seconds < 0 || seconds > lastSecond {
		r.fail(name, "a date in seconds since 1970")
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

func (r *claimReader) patterns(name string) Patterns {
	if _, present := r.claims[name]; !present {
		return Patterns{}
	}
	p, err := NewPatterns(r.strings(name)...)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%w: %s: %w", ErrClaims, name, err)
	}
	return p
}

// audience reads aud, which RFC 7519 lets be a string or a list of them.
func (r *claimReader) audience(name string) []string {
	v, present := r.claims[name]
	if !present {
		return nil
	}
	if one, ok := v.(string); ok {
		return []string{one}
	}
	return r.strings(name)
}

func (r *claimReader) strings(name string) []string {
	items, ok := r.claims[name].([]any)
	if !ok {
		r.fail(name, "a list of strings")
		return nil
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			r.fail(name, "a list of strings")
			return nil
		}
		list = append(list, s)
	}
	return list
}
