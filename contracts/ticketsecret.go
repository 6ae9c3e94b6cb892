package contracts

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// TicketSecret is one secret that tickets are signed with. Make it with [ParseTicketSecret]. Printed in any way, it
// shows its id only.
type TicketSecret struct {
	// ID names it in signatures: it is made from the secret, so that there is nothing to configure twice.
	ID string

	// A function, because fmt follows fields where it cannot call String.
	reveal func() []byte
}

// TicketSecrets are one secret, or two while they change: the first signs, both verify. To change them without a ticket
// lost: add the new one as second everywhere, then make it the first everywhere, then take the old one away.
type TicketSecrets []TicketSecret

// ErrTicketSecret is wrapped by every error about a secret. The errors never repeat it.
var ErrTicketSecret = errors.New("invalid ticket key")

const (
	ticketSecretID     = 8
	minTicketSecret    = 32  // bytes: the size of the hash
	maxTicketSecret    = 256 // bytes
	maxTicketSecrets   = 2
	ticketSecretIDRole = "beeline ticket key id\x00"
)

// ParseTicketSecret reads a secret of 32 to 256 bytes in base64, of either alphabet, padded or not.
func ParseTicketSecret(text string) (TicketSecret, error) {
	if len(text) > 2*maxTicketSecret {
		return TicketSecret{}, fmt.Errorf("%w: it is too long", ErrTicketSecret)
	}
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(strings.TrimSpace(text), "="))
	secret, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return TicketSecret{}, fmt.Errorf("%w: it is not base64", ErrTicketSecret)
	}
	if len(secret) < minTicketSecret || len(secret) > maxTicketSecret {
		return TicketSecret{}, fmt.Errorf("%w: it has %d bytes, %d to %d are needed", ErrTicketSecret, len(secret), minTicketSecret, maxTicketSecret)
	}
	sum := sha256.Sum256(append([]byte(ticketSecretIDRole), secret...))
	id := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5]))
	return TicketSecret{ID: id, reveal: func() []byte { return secret }}, nil
}

// ParseTicketSecrets reads one or two secrets; see [ParseTicketSecret].
func ParseTicketSecrets(texts ...string) (TicketSecrets, error) {
	if len(texts) == 0 || len(texts) > maxTicketSecrets {
		return nil, fmt.Errorf("%w: there are %d, one or two are needed", ErrTicketSecret, len(texts))
	}
	var all TicketSecrets
	for i, text := range texts {
		s, err := ParseTicketSecret(text)
		if err != nil {
			return nil, fmt.Errorf("ticket key number %d: %w", i+1, err)
		}
		if i > 0 && all[0].ID == s.ID {
			return nil, fmt.Errorf("%w: both are the same", ErrTicketSecret)
		}
		all = append(all, s)
	}
	return all, nil
}

// String names the secret; it never shows it.
func (s TicketSecret) String() string { return "ticket key " + s.ID }

// GoString is String: %#v is no way around it.
func (s TicketSecret) GoString() string { return s.String() }

// LogValue keeps the secret out of logs.
func (s TicketSecret) LogValue() slog.Value { return slog.StringValue(s.String()) }
