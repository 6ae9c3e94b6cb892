package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
)

// minRSA is what RFC 7518 requires of RS256.
const minRSA = 2048

// GenerateKey makes a new key for an algorithm, as the contents of the two files
// that [NewKey] and [ParseKeys] read: private for whoever issues tokens, public
// for whoever only verifies them. For HS256 private is the shared secret, a line
// of text, and public is nil. It returns [ErrKey] for an unknown algorithm.
func GenerateKey(alg string) (private, public []byte, err error) {
	if err := checkAlgorithm(alg); err != nil {
		return nil, nil, err
	}
	var signer crypto.Signer
	switch alg {
	case HS256:
		secret := make([]byte, MinSecret)
		_, _ = rand.Read(secret) // never fails, says crypto/rand
		return append(base64.RawURLEncoding.AppendEncode(nil, secret), '\n'), nil, nil
	case RS256:
		signer, err = rsa.GenerateKey(rand.Reader, minRSA)
	case ES256:
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make a new %s key: %w", alg, err)
	}
	return encodePEM(signer)
}

// encodePEM writes a key pair as PKCS #8 and PKIX.
func encodePEM(signer crypto.Signer) (private, public []byte, err error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the private key: %w", err)
	}
	pkix, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("encode the public key: %w", err)
	}
	private = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	public = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix})
	return private, public, nil
}

// parsePEM reads the one key of a PEM file and binds it to its algorithm.
func parsePEM(alg string, contents []byte) (material, error) {
	var found any
	for block, rest := pem.Decode(contents); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "EC PARAMETERS" {
			continue // openssl writes it before the key, which names its curve again
		}
		if found != nil {
			return material{}, fmt.Errorf("%w: its file holds more than one key", ErrKey)
		}
		parsed, err := parseBlock(block)
		if err != nil {
			return material{}, err
		}
		found = parsed
	}
	if found == nil {
		return material{}, fmt.Errorf("%w: its file holds no PEM key", ErrKey)
	}
	signer, private := found.(crypto.Signer)
	if !private {
		return bind(alg, found, nil)
	}
	return bind(alg, signer.Public(), signer)
}

// parseBlock reads a public or private key. Causes are left out of its errors:
// they can quote bytes of the key.
func parseBlock(block *pem.Block) (key any, err error) {
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%w: its PEM block is neither a public nor an unencrypted private key", ErrKey)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: its PEM block cannot be parsed", ErrKey)
	}
	return key, nil
}

// bind refuses a key that is too weak or of another algorithm's kind. A nil sign
// makes a key that only verifies.
func bind(alg string, public, sign any) (material, error) {
	fits := false
	switch k := public.(type) {
	case *rsa.PublicKey:
		if alg == RS256 && k.N.BitLen() < minRSA {
			return material{}, fmt.Errorf("%w: an RSA key has at least %d bits", ErrKey, minRSA)
		}
		fits = alg == RS256
	case *ecdsa.PublicKey:
		fits = alg == ES256 && k.Curve == elliptic.P256()
	case ed25519.PublicKey:
		fits = alg == EdDSA
	}
	if !fits {
		return material{}, fmt.Errorf("%w: its file holds another kind of key than %s needs", ErrKey, alg)
	}
	return material{verify: public, sign: sign}, nil
}
