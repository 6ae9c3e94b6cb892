//go:build !unix

package bench

// fileLimit returns 0: there is none that binds.
func fileLimit() int { return 0 }
