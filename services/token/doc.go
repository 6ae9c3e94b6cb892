// Package token verifies, and issues, the JSON Web Tokens with which clients
// log in.
//
// A token says who its bearer is (sub), until when (exp), and what that client
// may do: send, groups, watch and call list [Patterns] of ids, and admin opens
// the console.
//
// It does not decide what a client may do when its token does not say, nor what
// a valid client id is: the first is the caller's default ([Patterns.Or]), the
// second is handed in ([Options].ValidClient). It fetches nothing from the
// network: keys come from configuration, and the key locations that a token
// names for itself (jku, jwk, x5u, x5c) are ignored.
//
// # What is promised
//
//   - Nothing in a token is used before its signature has been verified, except
//     alg and kid, which choose among the configured keys.
//   - Each key has one algorithm. A token that says another one is refused, so a
//     public key is never taken for an HMAC secret.
//   - A token that names a key (kid) is tried with that key and no other. A token
//     that names none is tried with every key of its algorithm, which is how two
//     keys are live during a rotation.
//   - A claim of this package that is present but of the wrong type, null
//     included, is refused and never read as absent: absent can mean "allowed".
//   - No error text contains a key, a secret, the token or anything taken from it.
//
// A [Verifier] is safe for concurrent use.
package token
